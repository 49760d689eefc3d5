"""Files of a hosted model: missing, foreign and unlike weights, the named file, and memory."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("transformers", reason="needs the package `transformers`")

import torch
import transformers
from safetensors.torch import load_file, save_file

import rheostat
from engines.hf_models import VOCABULARY, fast_tokenizer, made, write_tokenizer
from rheostat.engines import enough_memory, hosted_files
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import MemoryShortError, ModelError, UserError
from rheostat.kernel.seams import Installed, Layout, NumberFormat

GPT = {
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 512,
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WEIGHT = "transformer.h.1.mlp.c_fc.weight"
FILE = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, engines_cache):
    path = tmp_path_factory.mktemp("gpt2")
    made("GPT2Config", GPT, seed=4).save_pretrained(path)
    write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def engine(folder):
    return rheostat.load(folder, threads=1)


@pytest.fixture
def changed(folder, tmp_path):
    """Writes the model again, its weights changed by a function."""

    def write(change):
        path = tmp_path / "changed"
        shutil.copytree(folder, path)
        weights = change(load_file(folder / FILE))
        save_file({k: w.contiguous() for k, w in weights.items()}, path / FILE, {"format": "pt"})
        return path

    return write


def theirs(path):
    module = transformers.AutoModelForCausalLM.from_pretrained(path)
    with torch.inference_mode():
        return module(torch.tensor([[5, 9, 7]])).logits[0]


def ours(engine):
    layout = Layout.full(engine.shape.layers)
    from rheostat.engines.torch_model import Feed
    from rheostat.kernel.seams import Depth

    cache = empty_cache(engine.decoder, layout, capacity=3)
    feed = Feed(cache, [5, 9, 7], 0)
    return engine.decoder.forward([feed], Depth(layout), logit_rows=None).logits


def without(names):
    return lambda weights: {k: w for k, w in weights.items() if names not in k}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (WEIGHT, rf"lacks 1 of the model's weights: `{WEIGHT}`"),
        (".h.2.", r"lacks 12 of the model's weights: `transformer\.h\.2\.attn\.c_attn\.bias`"),
        ("wte", r"lacks 1 of the model's weights: `transformer\.wte\.weight`"),  # the head is tied
    ],
)
def test_missing_weights_are_refused_and_never_drawn_at_random(changed, names, said):
    with pytest.raises(ModelError, match=said) as error:
        rheostat.load(changed(without(names)), threads=1)
    assert "fetch the folder again" in error.value.hint
    assert error.value.exit_code == 2


def test_a_shard_that_lacks_what_its_index_names_is_refused(tmp_path, engines_cache):
    made("GPT2Config", GPT, seed=4).save_pretrained(tmp_path, max_shard_size="60KB")
    write_tokenizer(tmp_path)
    names = json.loads((tmp_path / f"{FILE}.index.json").read_text())["weight_map"]
    gone, shard = min(names.items())
    rest = {k: w for k, w in load_file(tmp_path / shard).items() if k != gone}
    save_file(rest, tmp_path / shard, {"format": "pt"})
    with pytest.raises(ModelError, match=f"lacks 1 of the model's weights: `{gone}`"):
        rheostat.load(tmp_path, threads=1)


def test_a_weight_of_another_shape_is_refused(changed):
    path = changed(lambda weights: {**weights, WEIGHT: torch.ones(48, 100)})
    with pytest.raises(ModelError, match=rf"\(48, 100\) for `{WEIGHT}`, expected \(48, 192\)"):
        rheostat.load(path, threads=1)


@pytest.mark.parametrize(
    "name",
    [
        "transformer.h.7.foreign",
        "transformer.h.1.mlp.c_fc.lora_A.weight",
        "base_model.model.transformer.h.0.lora_B.weight",
    ],
)
def test_foreign_weights_within_the_model_are_refused(changed, name):
    path = changed(lambda weights: {**weights, name: torch.ones(3), f"{name}2": torch.ones(3)})
    with pytest.raises(ModelError, match=f"holds `{name}` and 1 more weights") as error:
        rheostat.load(path, threads=1)
    assert "rheostat.load(model, tokenizer=tokenizer)" in error.value.hint


def test_a_head_for_another_task_is_told_and_left_out(changed, folder):
    said = []
    path = changed(lambda weights: {**weights, "v_head.summary.weight": torch.ones(1, 48)})
    loaded = rheostat.load(path, threads=1, progress=said.append)
    assert [text for text in said if "`v_head.summary.weight`, of a part that is not run" in text]
    assert ours(loaded) == pytest.approx(theirs(folder), abs=1e-4)


def test_tied_and_ignorable_weights_are_neither_missing_nor_foreign(changed, folder):
    masks = {
        "transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8),
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
    }
    assert "lm_head.weight" not in load_file(folder / FILE)
    said = []
    path = changed(lambda weights: {**weights, **masks})
    loaded = rheostat.load(path, threads=1, progress=said.append)
    assert ours(loaded) == pytest.approx(theirs(folder), abs=1e-4)
    assert not [text for text in said if "not run here" in text]


def test_the_file_that_is_named_runs(folder, tmp_path, engines_cache):
    path, other = tmp_path / "two", tmp_path / "other"
    shutil.copytree(folder, path)
    made("GPT2Config", GPT, seed=9).save_pretrained(other)
    shutil.copy(other / FILE, path / "tuned.safetensors")
    assert ours(rheostat.load(path / "tuned.safetensors", threads=1)) == pytest.approx(
        theirs(other), abs=1e-4
    )
    assert ours(rheostat.load(path / FILE, threads=1)) == pytest.approx(theirs(folder), abs=1e-4)
    with pytest.raises(ModelError, match=r"2 files of weights and no .*`tuned\.safet") as error:
        rheostat.load(path, threads=1)
    assert f"such as `{path / FILE}`" in error.value.hint


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(enough_memory, "free_bytes", lambda: 400_000)
    with pytest.raises(ModelError, match=r"needs about 0\.\d MB of memory in float32") as error:
        rheostat.load(folder, threads=1)
    assert "`--dtype bfloat16` it needs about" in error.value.hint


def allocating(*_, **__):
    """What happens where memory runs out, by torch's own words."""
    return torch.empty(1 << 60)


def test_memory_that_runs_out_while_loading_is_told(folder, monkeypatch):
    monkeypatch.setattr(
        hosted_files.AutoModelForCausalLM, "from_pretrained", staticmethod(allocating)
    )
    with pytest.raises(MemoryShortError, match=r"memory ran out while .* was loaded in float32"):
        rheostat.load(folder, threads=1)


def test_memory_that_runs_out_while_another_model_is_loaded_is_told(engine, monkeypatch):
    monkeypatch.setattr(engine, "_opener", allocating)
    with pytest.raises(MemoryShortError, match="memory ran out while `small` was loaded"):
        engine.drafting_model("small")
    decision = Installed(model=NumberFormat("bfloat16"))
    with pytest.raises(MemoryShortError, match="was loaded in bfloat16"):
        engine.under(decision)


def test_a_cache_without_room_says_how_much_would_fit(engine, monkeypatch):
    monkeypatch.setattr(enough_memory, "free_bytes", lambda: 10**6)
    with pytest.raises(MemoryShortError, match="no memory for the keys and values of") as error:
        empty_cache(engine.decoder, Layout.full(3), capacity=1 << 50)
    assert f"about {10**6 // (3 * 2 * 48 * 4)} tokens would fit" in error.value.hint


def test_a_pass_without_room_says_what_was_held_and_keeps_what_was_finished(engine, monkeypatch):
    """The first request ends with its first token; the second's prompt is another pass."""
    module, own = engine.decoder._module, engine.decoder._module.forward

    def forward(input_ids, **more):
        return own(input_ids=input_ids, **more) if input_ids.shape[1] < 50 else allocating()

    monkeypatch.setattr(module, "forward", forward, raising=False)
    requests = [Request(id="a", prompt="a cat"), Request(id="b", prompt="the hat is on " * 50)]
    outputs = engine.generate(requests, Sampling(max_new_tokens=1), installed=Installed())
    assert next(outputs).id == "a"
    with pytest.raises(MemoryShortError, match=r"pass over \d+ new tokens of a row") as error:
        next(outputs)
    assert "fewer rows side by side" in error.value.hint
    assert error.value.exit_code == 2


def test_a_token_that_the_model_has_no_row_for_is_told(tmp_path, engines_cache):
    for config, more in (
        ("GPT2Config", {**GPT, "vocab_size": 100}),
        ("LlamaConfig", {"hidden_size": 48, "intermediate_size": 80, "vocab_size": 100}),
    ):
        sizes = {"num_attention_heads": 4, "num_hidden_layers": 2} if "Llama" in config else {}
        loaded = rheostat.load(
            made(config, {**more, **sizes}, seed=1), tokenizer=fast_tokenizer(), threads=1
        )
        with pytest.raises(ModelError, match=r"makes token \d+ of .* has rows for 100 tokens"):
            loaded.encode(Request(id="1", prompt="the cat zq 123"))
        with pytest.raises(ModelError, match="has rows for 100 tokens"):
            loaded.score([1, 2], [100], installed=Installed())


@pytest.mark.parametrize(
    ("dtype", "hint"),
    [("bfloat16", r"`model.bfloat16()`"), ("layercast", "own loop, which does not run this")],
)
def test_a_format_that_a_live_module_lacks_comes_with_what_can_be_done(dtype, hint):
    module = made("GPT2Config", GPT, seed=2)
    with pytest.raises(UserError, match="runs on its own module, in float32") as error:
        rheostat.load(module, tokenizer=fast_tokenizer(), dtype=dtype)
    assert hint in error.value.hint
