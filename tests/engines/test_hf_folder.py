"""Folders as Hugging Face keeps them: every shape against `transformers`, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("transformers", reason="needs the package `transformers`")

import torch
from safetensors.torch import load_file, save_file

from engines.hf_models import VOCABULARY, made, write_tokenizer
from engines.hf_shapes import COMMON, SHAPES
from engines.torch_rig import llama_of, read
from rheostat.engines.base import Request, Sampling
from rheostat.engines.load_model import load_model
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import ModelError, UserError
from rheostat.kernel.seams import Depth, Installed, Layout


@pytest.fixture
def llama_folder(folders, tmp_path):
    """A copy of a folder, to be damaged."""
    return shutil.copytree(folders("llama")[0], tmp_path / "model")


def full(model):
    return Depth(Layout.full(model.shape.layers))


def logits_of(model, cache, tokens, at=0):
    return model.forward([Feed(cache, tokens, at)], full(model), logit_rows=None).logits


def cache_of(model):
    return empty_cache(model, full(model).layout, capacity=64)


def near(found, expected, within):
    return bool((found - expected).abs().max() < within)


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_transformers(folders, name):
    path, other = folders(name)
    model = llama_of(load_model(str(path)))
    tokens = np.random.default_rng(3).integers(5, VOCABULARY, 150).tolist()
    with torch.inference_mode():
        expected = other(torch.tensor([tokens])).logits[0]
    cache = cache_of(model)
    found = [logits_of(model, cache, tokens[:90])]  # a prompt, single steps, a draft
    found += [logits_of(model, cache, tokens[i : i + 1]) for i in range(90, 120)]
    found += [logits_of(model, cache, tokens[120:150])]
    assert near(torch.cat(found), expected, 1e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_greedy_tokens_are_those_of_transformers_over_200_steps(folders, name):
    path, other = folders(name)
    model = llama_of(load_model(str(path)))
    prompt = np.random.default_rng(4).integers(5, VOCABULARY, 12).tolist()
    with torch.inference_mode():
        whole = other.generate(
            torch.tensor([prompt]), max_new_tokens=200, do_sample=False, eos_token_id=None
        )[0].tolist()
    cache, written, last = cache_of(model), [], prompt
    for _ in range(200):
        last = [int(logits_of(model, cache, last)[-1].argmax())]
        written += last
    assert written == whole[len(prompt) :]


@pytest.mark.parametrize("name", SHAPES)
def test_batches_forks_and_truncations_change_nothing(folders, name):
    model = llama_of(load_model(str(folders(name)[0])))
    draw = np.random.default_rng(5)
    texts = [draw.integers(5, VOCABULARY, n).tolist() for n in (50, 20, 33)]
    alone = [logits_of(model, cache_of(model), text) for text in texts]
    caches = [cache_of(model) for _ in texts]
    feeds = [Feed(cache, text, 0) for cache, text in zip(caches, texts, strict=True)]
    together = model.forward(feeds, full(model), logit_rows=None).logits
    assert near(together, torch.cat(alone), 1e-4)
    twin = caches[0].fork()
    caches[0].truncate(40)
    again = logits_of(model, caches[0], texts[0][40:])
    assert near(again, alone[0][40:], 1e-4)
    more = draw.integers(5, VOCABULARY, 6).tolist()
    whole = logits_of(model, cache_of(model), texts[0] + more)
    assert near(logits_of(model, twin, more), whole[-6:], 1e-4)


def test_a_model_with_windows_lets_no_entries_go(folders):
    import rheostat

    llama, mistral = (
        rheostat.load(str(folders(name)[0]), threads=1).card.offers for name in ("llama", "mistral")
    )
    assert "cache.entries" in llama
    assert llama - mistral == {"cache.entries"}


def test_bfloat16_weights_stay_as_they_are_stored(folders, tmp_path):
    folder = shutil.copytree(folders("qwen2")[0], tmp_path / "half")
    stored = load_file(folder / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in stored.items()}, folder / "model.safetensors")
    loaded = load_model(str(folder))
    assert loaded.tensors["layers.0.q.weight"].dtype == torch.bfloat16
    model = llama_of(loaded, dtype=torch.bfloat16)
    assert torch.isfinite(logits_of(model, cache_of(model), [7, 8, 9])).all()


@torch.inference_mode()
def logits_of_theirs(model, tokens):
    return model(torch.tensor([tokens])).logits[0]


@pytest.mark.parametrize("config", ["Gemma2Config", "Gemma3TextConfig"])
def test_bfloat16_is_no_farther_from_float32_than_theirs(tmp_path, engines_cache, config):
    sizes = {"head_dim": 16, "query_pre_attn_scalar": 20, "attn_implementation": "eager"}
    shares = []
    for seed in range(6):
        half = made(config, {**COMMON, **sizes}, seed=seed).bfloat16()
        half.save_pretrained(tmp_path / str(seed))
        write_tokenizer(tmp_path / str(seed))
        loaded = load_model(str(tmp_path / str(seed)))
        tokens = np.random.default_rng(seed).integers(5, VOCABULARY, 200).tolist()
        own = read(llama_of(loaded, dtype=torch.bfloat16), tokens).float()
        narrow = logits_of_theirs(half, tokens).float()
        exact = logits_of_theirs(half.float(), tokens)
        shares.append(float((own - exact).abs().mean() / (narrow - exact).abs().mean()))
    assert np.mean(shares) <= 1.0, shares


def test_a_sharded_folder_is_the_whole_one(folders, tmp_path):
    path, other = folders("llama")
    folder = tmp_path / "shards"
    other.save_pretrained(folder, max_shard_size="40KB")
    write_tokenizer(folder)
    assert len(list(folder.glob("*.safetensors"))) > 2
    whole, parts = load_model(str(path)), load_model(str(folder))
    assert all(torch.equal(parts.tensors[name], whole.tensors[name]) for name in whole.tensors)
    next(iter(folder.glob("*.safetensors"))).unlink()
    with pytest.raises(ModelError, match="lacks 1 of"):
        load_model(str(folder))


def test_a_folder_runs_end_to_end(folders, tmp_path):
    import rheostat

    folder = str(folders("qwen3")[0])
    engine = rheostat.load(folder, threads=1)
    (output,) = engine.generate(
        [Request(id="a", messages=({"role": "user", "content": "the cat"},))],
        Sampling(max_new_tokens=8),
        installed=Installed(),
    )
    assert len(output.token_ids) == 8 or output.stop_reason == "eos"
    same = load_model(str(folders("qwen3")[0] / "model.safetensors"))
    assert same.shape == engine.shape
    with pytest.raises(UserError, match="no four-bit weights"):
        rheostat.load(folder, dtype="gguf")


def changed_config(folder, **entries):
    path = folder / "config.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, **entries}))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model_type": "mamba"}, "architecture `mamba`.*it runs `llama`"),
        ({"attention_bias": True}, "asks for `attention_bias`"),
        ({"hidden_act": "relu"}, "activation `relu`"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rotary embedding `longrope`"),
        ({"rope_parameters": {"rope_type": "linear"}}, "lacks `factor`"),
        ({"num_key_value_heads": 4}, "6 query and 4 key heads"),
        ({"hidden_size": "wide"}, "holds `wide` as `hidden_size`"),
        ({"intermediate_size": 81}, "holds .* for `model.layers.0.mlp.gate_proj.weight`"),
    ],
)
def test_what_cannot_be_run_is_said(llama_folder, entries, message):
    changed_config(llama_folder, **entries)
    with pytest.raises(ModelError, match=message) as error:
        load_model(str(llama_folder))
    assert error.value.hint


def test_files_that_are_missing_or_damaged_are_said(llama_folder):
    weights = load_file(llama_folder / "model.safetensors")
    extra = {**weights, "model.layers.0.extra": torch.ones(2)}
    bad = {**weights, "model.norm.weight": weights["model.norm.weight"] * float("nan")}
    save_file(bad, llama_folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"no finite number, in `norm\.weight`"):
        load_model(str(llama_folder))
    save_file(extra, llama_folder / "model.safetensors")
    with pytest.raises(ModelError, match="not a weight of such a model"):
        load_model(str(llama_folder))
    (llama_folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(llama_folder))
    (llama_folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no .safetensors file"):
        load_model(str(llama_folder))
    (llama_folder / "tokenizer.json").unlink()
    save_file(weights, llama_folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"holds no `tokenizer\.json`"):
        load_model(str(llama_folder))


def test_no_chat_template_is_said_when_it_is_needed(llama_folder):
    (llama_folder / "tokenizer_config.json").unlink()
    tokenizer = Tokenizer.of(load_model(str(llama_folder)))
    with pytest.raises(ModelError, match="no chat template"):
        tokenizer.chat([{"role": "user", "content": "a"}])


def test_a_hub_id_out_of_reach_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match=r"no folder here, nor in the hub.s cache, and could not be fetched"
    ):
        load_model("nobody/nothing")


def test_sentencepiece_tokens_stream_to_the_same_text(tmp_path):
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models

    pieces = ["<unk>", "<s>", "▁the", "▁cat", "s", "<0xC3>", "<0xA9>", "▁"]
    backend = Backend(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[]))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = Tokenizer(tokenizer_json=backend.to_str(), chat_template=None)
    ids = [2, 3, 4, 5, 6, 7, 2]
    stream = tokenizer.stream()
    assert (
        "".join(map(stream.push, ids)) + stream.finish()
        == " the catsé  the"
        == tokenizer.decode(ids)
    )
