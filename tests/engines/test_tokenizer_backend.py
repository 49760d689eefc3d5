"""A tokenizer read in parts gives what the library gives of the whole file."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("tokenizers", reason="needs the `torch` extra")

import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from rheostat.engines.tokenizer_backend import read_tokenizer

TEXTS = ["the cat sat on the mat, and the hat", "über naïve 漢字 😀 1234", "aa ab aab abb cc"]
SPECIAL = ["<s>", "</s>", "<|name|>"]


def trained(kind):
    """A tokenizer of byte pairs with one of the options that a file may name."""
    options = {
        "bytes": {},
        "fallback": {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True},
        "suffix": {"end_of_word_suffix": "</w>", "unk_token": "<unk>"},
        "prefix": {"continuing_subword_prefix": "##", "unk_token": "<unk>"},
        "whole words first": {"ignore_merges": True},
    }[kind]
    made = tokenizers.Tokenizer(models.BPE(**options))
    if "unk_token" in options:
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        alphabet = []
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    bytes_ = [f"<0x{i:02X}>" for i in range(256)] if kind == "fallback" else []
    made.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=["<unk>", "<s>", *bytes_],
            initial_alphabet=alphabet,
            show_progress=False,
            **{n: v for n, v in options.items() if n in trainer_options()},
        ),
    )
    made.normalizer = normalizers.NFC()
    made.add_special_tokens(SPECIAL)
    made.add_tokens(["added word", "cat"])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    return made


def trainer_options():
    return {"end_of_word_suffix", "continuing_subword_prefix"}


KINDS = ["bytes", "fallback", "suffix", "prefix", "whole words first"]


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    """The library's own reading and ours."""
    text = trained(request.param).to_str()
    return tokenizers.Tokenizer.from_str(text), read_tokenizer(text)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from([*SPECIAL, *TEXTS, "added word", "cats", " "]) | st.text(max_size=8),
        max_size=6,
    )
)
def test_texts_have_the_same_tokens_and_come_back(pair, parts):
    whole, own = pair
    text = "".join(parts)
    for special in (True, False):
        wanted, found = (t.encode(text, add_special_tokens=special) for t in (whole, own))
        assert (found.ids, found.tokens) == (wanted.ids, wanted.tokens)
        for skip in (True, False):
            assert own.decode(found.ids, skip_special_tokens=skip) == whole.decode(
                wanted.ids, skip_special_tokens=skip
            )


def test_both_hold_the_same(pair):
    whole, own = pair
    assert own.get_vocab() == whole.get_vocab()
    assert own.get_vocab_size() == whole.get_vocab_size()
    assert json.loads(own.to_str()) == json.loads(whole.to_str())


def test_merges_in_the_older_writing_are_read():
    text = trained("bytes").to_str()
    held = json.loads(text)
    merges = [m for m in held["model"]["merges"] if not any(" " in part for part in m)]
    held["model"]["merges"] = [" ".join(merge) for merge in merges]
    older = json.dumps(held)
    sentence = "the cat and the hat"
    whole = tokenizers.Tokenizer.from_str(older)
    assert read_tokenizer(older).encode(sentence).ids == whole.encode(sentence).ids


def test_other_models_are_read_by_the_library():
    made = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    assert read_tokenizer(made.to_str()).encode("a c b").ids == [0, 2, 1]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"model": {"type": "BPE"}}'])
def test_what_is_no_tokenizer_is_refused(text):
    with pytest.raises(Exception):  # noqa: B017  # the library's own
        read_tokenizer(text)
