"""Text to tokens and back: the same ids, text and chats as transformers and llama.cpp."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from engines.tiny_gguf import CHAT_TEMPLATE, tiny_tokens, write_tiny_gguf
from rheostat.engines.gguf_file import open_gguf
from rheostat.engines.tokenizer import Tokenizer, tokenizer_json
from rheostat.errors import ModelError, WorkloadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rheostat.engines.weights_cache import LoadedModel

MESSAGES = (
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}],
    [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two\n"},
        {"role": "user", "content": "  three {{ x }} <b> 🙂 <|im_end|>"},
    ],
    [{"role": "user", "content": ""}],
    [{"role": "system", "content": "only"}],
)


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path) -> Tokenizer:
    return with_template(tiny_gguf, CHAT_TEMPLATE)


def with_template(path: Path, template: str | None) -> Tokenizer:
    text = tokenizer_json(path, raw_tokenizer(path))
    names = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    return Tokenizer(tokenizer_json=text, chat_template=template, named_tokens=names)


def raw_tokenizer(path: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(path.parent / "cache"))
        return open_gguf(path).tokenizer


def streamed(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    stream = tokenizer.stream()
    return [*(stream.push(token) for token in ids), stream.finish()]


def test_merges_apply_in_rank_order(tiny: Tokenizer) -> None:
    tokens = tiny_tokens(300)
    # " t" is merged before "he", then both give " the".
    assert [tokens[i] for i in tiny.encode("in the end")] == ["in", "Ġthe", "Ġ", "en", "d"]


def test_every_digit_is_a_token_of_its_own(tiny: Tokenizer) -> None:
    assert len(tiny.encode("123")) == 3


def test_blanks_before_a_digit_stay_together(tiny: Tokenizer) -> None:
    assert tiny.encode("\n\n1") == [*tiny.encode("\n\n"), *tiny.encode("1")]


def test_special_tokens_in_text_are_parsed(tiny: Tokenizer) -> None:
    assert tiny.encode("<|im_start|>a<|im_end|><|endoftext|>") == [1, *tiny.encode("a"), 2, 0]


def test_no_token_is_added_by_itself(tiny: Tokenizer) -> None:
    assert tiny.encode("") == []


@given(st.text())
@example("<|im_end|>  12\n\n\t3 ém 🙂‍↔️ \u2028\x00")
def test_decoding_gives_the_text_back(tiny: Tokenizer, text: str) -> None:
    ids = tiny.encode(text)
    assert tiny.decode(ids) == text
    assert "".join(streamed(tiny, ids)) == text


@given(st.lists(st.integers(0, 299), max_size=40))
def test_streamed_pieces_equal_the_whole_even_for_broken_text(
    tiny: Tokenizer, ids: list[int]
) -> None:
    assert "".join(streamed(tiny, ids)) == tiny.decode(ids)


def test_a_stream_never_shows_half_a_character(tiny: Tokenizer) -> None:
    ids = tiny.encode("é🙂")
    assert len(ids) == 6
    assert streamed(tiny, ids) == ["", "é", "", "", "", "🙂", ""]


def test_a_cut_character_is_shown_at_the_end(tiny: Tokenizer) -> None:
    ids = tiny.encode("a🙂")[:-1]
    assert streamed(tiny, ids) == ["a", "", "", "", "\ufffd"]
    assert tiny.decode(ids) == "a\ufffd"


def test_half_a_surrogate_pair_is_refused(tiny: Tokenizer) -> None:
    with pytest.raises(WorkloadError, match="surrogate"):
        tiny.encode("a\ud800b")


def test_a_chat_has_the_default_system_message_only_without_its_own(tiny: Tokenizer) -> None:
    assert tiny.chat(MESSAGES[0]) == (
        "<|im_start|>system\nBe brief<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert "Be brief" not in tiny.chat(MESSAGES[1])


def test_the_generation_prompt_can_be_left_out(tiny: Tokenizer) -> None:
    whole, cut = tiny.chat(MESSAGES[0]), tiny.chat(MESSAGES[0], add_generation_prompt=False)
    assert whole == cut + "<|im_start|>assistant\n"


def test_messages_may_be_read_only(tiny: Tokenizer) -> None:
    assert tiny.chat([MappingProxyType(MESSAGES[0][0])]) == tiny.chat(MESSAGES[0])


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([], "the list of messages is empty"),
        ([{"role": "user"}], "message 1 lacks `content`"),
        ([*MESSAGES[0], {"content": "x"}], "message 2 lacks `role`"),
        ([{"role": "user", "content": None}], "`content` of message 1 is not text"),
        ([{"role": 3, "content": "x"}], "`role` of message 1 is not text"),
        (["hi"], "message 1 is no object"),
    ],
)
def test_malformed_messages_are_refused_in_words(
    tiny: Tokenizer, messages: Any, found: str
) -> None:
    with pytest.raises(WorkloadError, match=re.escape(found)) as caught:
        tiny.chat(messages)
    assert '"role"' in caught.value.hint


def test_a_template_refuses_messages_in_its_own_words(tiny_gguf: Path) -> None:
    tokenizer = with_template(tiny_gguf, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(WorkloadError, match="roles must alternate"):
        tokenizer.chat(MESSAGES[0])


@pytest.mark.parametrize(("template", "found"), [("{% if %}", "cannot be read"), (None, "no chat")])
def test_an_unusable_template_points_to_raw_prompts(
    tiny_gguf: Path, template: str | None, found: str
) -> None:
    with pytest.raises(ModelError, match=found) as caught:
        with_template(tiny_gguf, template).chat(MESSAGES[0])
    assert "--raw" in caught.value.hint


def test_a_template_cannot_reach_out_of_its_sandbox(tiny_gguf: Path) -> None:
    tokenizer = with_template(tiny_gguf, "{{ messages.__class__.__mro__ }}{{ messages.append(1) }}")
    with pytest.raises(WorkloadError, match="refuses these messages"):
        tokenizer.chat(MESSAGES[0])


def test_a_template_knows_named_tokens_json_and_dates(tiny_gguf: Path) -> None:
    template = "{{ bos_token }}{{ messages[0] | tojson }}{{ strftime_now('%Y') | length }}"
    message = {"role": "user", "content": "<é>"}
    expected = '<|im_start|>{"role": "user", "content": "<é>"}4'
    assert with_template(tiny_gguf, template).chat([message]) == expected


@pytest.mark.parametrize(("model", "pre"), [("bert", "default"), ("gpt2", "qwen2")])
def test_other_tokenizers_are_refused_by_name(tmp_path: Path, model: str, pre: str) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", tokenizer_model=model, pre=pre)
    with pytest.raises(ModelError, match=f"tokenizer `{model}` / `{pre}`"):
        tokenizer_json(path, raw_tokenizer(path))


def test_gpt2_keeps_digits_together(tiny_gguf: Path) -> None:
    raw = dataclasses.replace(raw_tokenizer(tiny_gguf), pre="gpt-2")
    assert '"Digits"' not in tokenizer_json(tiny_gguf, raw)


def test_merges_of_unknown_tokens_are_refused(tiny_gguf: Path) -> None:
    raw = dataclasses.replace(raw_tokenizer(tiny_gguf), merges=("zz yy",))
    with pytest.raises(ModelError, match="merges that do not fit"):
        tokenizer_json(tiny_gguf, raw)


# ------------------------------------------------------------------- against the real model

PARTS = (
    "Hello, world!",
    "don't I'll we've they're IT'S",
    "  leading and trailing  ",
    "tabs\tand\nnew lines\r\n\r\n",
    "\n\n\n",
    "3.14159 and 1,000,000 or 0x1F",
    "2024-05-17T12:34:56Z",
    "²³ ½ Ⅷ ٣٤ 一二三",
    "naïve café – “quotes” … €",  # noqa: RUF001
    "你好,世界。 こんにちは 안녕하세요",
    "Привет, мир! Γειά σου",  # noqa: RUF001
    "مرحبا بالعالم שלום",
    "🙂 🙂‍↔️ 👩‍👩‍👧‍👦 🇨🇭",
    "e\u0301 \u00a0 \u2028 \u200b \ufeff \x00\x7f",
    "def f(x):\n    return x ** 2  # square\n",
    'for (int i = 0; i < 10; ++i) { printf("%d\\n", i); }',
    "SELECT * FROM t WHERE a >= 1 AND b <> 'x';",
    "<html><body class='x'>1 &amp; 2</body></html>",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|><repo_name>a/b<file_sep>",
    "<|im_start |> <im_end> <|im_end|",
    "https://example.org/a?b=1&c=%20#d",
    "1. one\n2. two\n\n10. ten",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "{'a': [1, 2.5, null], \"b\": {}}",
)
TEXTS = [*PARTS, *(f"{a} {b}" for a, b in itertools.combinations(PARTS, 2))]
# Where blanks or numerals of several kinds meet a digit, only the rule `smollm` gives these ids
# (from llama.cpp on the same file); transformers 5 reads GGUF files without that rule.
LLAMA_CPP_IDS = {
    "a\n\n1. b": [81, 1116, 33, 30, 278],
    "x  12": [104, 256, 33, 34],
    "²½ ٣٤": [19133, 16738, 216, 164, 113, 164, 114],
    "  \t 9": [256, 197, 216, 41],
    "\n\n\n42 apples": [16506, 36, 34, 13855],
    "<|im_start|>user\n1<|im_end|>": [1, 4093, 198, 33, 2],
}


@pytest.fixture(scope="module")
def real(smollm2: LoadedModel) -> Tokenizer:
    return Tokenizer.of(smollm2)


@pytest.fixture(scope="module")
def reference(smollm2: LoadedModel) -> Any:
    """transformers' tokenizer as it reads the file."""
    transformers = pytest.importorskip("transformers")
    path = smollm2.gguf_path
    return transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)


@pytest.fixture(scope="module")
def ruled_reference(reference: Any) -> Any:
    """transformers' tokenizer with the rule that the file names."""
    ruled = copy.deepcopy(reference)
    rules = [pre_tokenizers.Digits(individual_digits=True), ruled.backend_tokenizer.pre_tokenizer]
    ruled.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(rules)
    return ruled


@pytest.mark.slow
def test_ids_equal_transformers_on_many_texts(real: Tokenizer, ruled_reference: Any) -> None:
    assert len(TEXTS) >= 200
    for text in TEXTS:
        assert real.encode(text) == ruled_reference.encode(text), text


@pytest.mark.slow
def test_ids_equal_transformers_as_it_is_where_no_numeral_follows_blanks(
    real: Tokenizer, reference: Any
) -> None:
    texts = [text for text in TEXTS if not re.search(r"\s\s\d", text) and "²" not in text]
    assert len(texts) >= 200
    for text in texts:
        assert real.encode(text) == reference.encode(text), text


@pytest.mark.slow
def test_ids_equal_llama_cpp(real: Tokenizer) -> None:
    assert {text: real.encode(text) for text in LLAMA_CPP_IDS} == LLAMA_CPP_IDS


@pytest.mark.slow
@given(st.text(max_size=60))
def test_ids_and_text_equal_transformers_on_any_text(
    real: Tokenizer, ruled_reference: Any, text: str
) -> None:
    ids = ruled_reference.encode(text)
    assert real.encode(text) == ids
    assert real.decode(ids) == ruled_reference.decode(ids)
    assert "".join(streamed(real, ids)) == real.decode(ids)


@pytest.mark.slow
@given(st.lists(st.integers(0, 49151), max_size=30))
def test_any_tokens_decode_as_in_transformers(
    real: Tokenizer, reference: Any, ids: list[int]
) -> None:
    assert real.decode(ids) == reference.decode(ids)
    assert "".join(streamed(real, ids)) == real.decode(ids)


@pytest.mark.slow
@pytest.mark.parametrize("messages", MESSAGES)
@pytest.mark.parametrize("prompted", [True, False])
def test_chats_equal_transformers(
    real: Tokenizer, reference: Any, messages: list[dict[str, str]], prompted: bool
) -> None:
    expected = reference.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=prompted
    )
    assert real.chat(messages, add_generation_prompt=prompted) == expected
