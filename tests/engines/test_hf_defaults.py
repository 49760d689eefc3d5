"""A configuration means what it means to `transformers`, whatever entries it leaves out."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("transformers", reason="needs the package `transformers`")

import torch
from huggingface_hub.errors import StrictDataclassError

from engines.hf_models import VOCABULARY, made, write_tokenizer
from engines.hf_shapes import COMMON, DEFAULT, LINEAR, LLAMA3, YARN
from engines.torch_rig import llama_of, read
from rheostat.engines.hf_config import UnsupportedShapeError
from rheostat.engines.hf_defaults import NULLABLE
from rheostat.engines.load_model import load_model
from rheostat.errors import ModelError

SMALL = {**COMMON, "num_hidden_layers": 2}
TYPES = ["sliding_attention", "full_attention"]
TEXT = np.random.default_rng(6).integers(5, VOCABULARY, 70).tolist()
FLAT = {**DEFAULT, "rope_theta": 500.0}
BOTH = {"full_attention": FLAT, "sliding_attention": {**FLAT, "rope_theta": 90.0}}
GEMMA = {
    "head_dim": 16,
    "hidden_activation": "silu",
    "layer_types": TYPES[::-1],
    "query_pre_attn_scalar": 1,
    "sliding_window": 24,
    "tie_word_embeddings": False,
}
QWEN = {
    "layer_types": TYPES,
    "max_window_layers": 1,
    "sliding_window": 24,
    "tie_word_embeddings": True,
    "use_sliding_window": True,
}
FAMILIES = {
    "LlamaConfig": {"head_dim": 12, "tie_word_embeddings": True, "attention_bias": False},
    "MistralConfig": {"head_dim": 12, "sliding_window": 24, "tie_word_embeddings": True},
    "Qwen2Config": QWEN,
    "Qwen3Config": {**QWEN, "head_dim": 16},
    "Phi3Config": {"sliding_window": 24, "tie_word_embeddings": True},
    "Gemma2Config": {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "Gemma3TextConfig": {**GEMMA, "final_logit_softcapping": 3.0, "rope_parameters": BOTH},
}
ALIKE = {
    "hidden_act": "gelu_pytorch_tanh",
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-2,
    "rope_parameters": FLAT,
}
PHI = {**FLAT, "partial_rotary_factor": 0.5}
OTHERS = [
    ("LlamaConfig", {"partial_rotary_factor": 0.5, "rope_theta": 500.0}),
    ("LlamaConfig", {"partial_rotary_factor": 0.5, "rope_parameters": LINEAR}),
    ("LlamaConfig", {"rope_parameters": {**LLAMA3, "partial_rotary_factor": 0.5}}),
    ("LlamaConfig", {"sliding_window": 24, "layer_types": TYPES}),
    ("LlamaConfig", {"rope_parameters": LLAMA3, "original_max_position_embeddings": 200}),
    ("LlamaConfig", {"rope_parameters": {k: v for k, v in LLAMA3.items() if "orig" not in k}}),
    ("LlamaConfig", {"rope_parameters": YARN, "original_max_position_embeddings": 20}),
    ("LlamaConfig", {"rope_parameters": {**YARN, "factor": None}}),
    ("LlamaConfig", {"rope_parameters": LINEAR, "rope_scaling": LLAMA3}),
    ("LlamaConfig", {"is_causal": False}),
    ("MistralConfig", {"sliding_window": 24, "layer_types": TYPES}),
    ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}),
    ("Qwen2Config", {"sliding_window": 24, "layer_types": TYPES}),
    ("Qwen3Config", {**QWEN, "head_dim": 16, "rope_parameters": BOTH}),
    ("Phi3Config", {"partial_rotary_factor": 0.5, "rope_theta": 500.0}),
    ("Phi3Config", {"rope_parameters": PHI}),
    ("Phi3Config", {"rope_parameters": YARN}),
    ("Phi3Config", {"rope_parameters": LINEAR}),
    ("Gemma2Config", {**GEMMA, "rope_parameters": LLAMA3}),
    ("Gemma3TextConfig", {**GEMMA, "attn_logit_softcapping": 2.0}),
    ("Gemma3TextConfig", {**GEMMA, "use_bidirectional_attention": True}),
    ("Gemma3TextConfig", {**GEMMA, "rope_parameters": FLAT, "rope_theta": 300.0}),
    ("Gemma3TextConfig", {**GEMMA, "rope_theta": 300.0, "rope_local_base_freq": 70.0}),
    ("Gemma3TextConfig", {**GEMMA, "rope_parameters": {"full_attention": FLAT}}),
    ("Gemma3TextConfig", {**GEMMA, "rope_parameters": BOTH, "rope_scaling": LINEAR}),
    (
        "Gemma3TextConfig",
        {**GEMMA, "rope_parameters": {**BOTH, "full_attention": {**YARN, "truncate": False}}},
    ),
]
"""What means nothing to some families, or lies at another place in older files."""


def entries_of(config):
    whole = {**SMALL, **ALIKE, **FAMILIES[config]}
    if "hidden_activation" in whole:
        del whole["hidden_act"]
    return whole


def cases():
    for config in FAMILIES:
        for entry in sorted({**ALIKE, **FAMILIES[config]}):
            whole = entries_of(config)
            if entry in whole:
                yield config, {k: v for k, v in whole.items() if k != entry}, f"no {entry}"
            if entry in whole and entry in NULLABLE:
                yield config, {**whole, entry: None}, f"{entry} null"
    for config, more in OTHERS:
        yield config, {**SMALL, **more}, " ".join(more)


CASES = [pytest.param(c, entries, id=f"{c} {name}") for c, entries, name in cases()]


@torch.inference_mode()
def theirs(config, entries):
    """The model and its logits; None where `transformers` itself cannot run such a thing."""
    try:
        model = made(config, {**entries, "attn_implementation": "eager"}, seed=5)
        return model, model(torch.tensor([TEXT])).logits[0]
    except (RuntimeError, TypeError, KeyError, StrictDataclassError):
        return None, None


@pytest.mark.parametrize(("config", "entries"), CASES)
def test_logits_are_those_of_transformers_or_the_shape_is_refused(
    tmp_path, engines_cache, config, entries
):
    model, expected = theirs(config, json.loads(json.dumps(entries)))
    if model is None:  # weights of some model, whose configuration is then another
        model = made(config, SMALL, seed=5)
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    told = {**entries, "model_type": model.config.model_type}
    (tmp_path / "config.json").write_text(json.dumps(told))
    if expected is None:
        with pytest.raises(ModelError):
            load_model(str(tmp_path))
        return
    if (config, entries) in REFUSED:
        with pytest.raises(UnsupportedShapeError):
            load_model(str(tmp_path))
        return
    loaded = load_model(str(tmp_path))
    assert (read(llama_of(loaded), TEXT) - expected).abs().max() < 1e-4


REFUSED = [
    (config, {**SMALL, **more})
    for config, more in OTHERS
    if "is_causal" in more or "use_bidirectional_attention" in more
]
"""What `transformers` runs and the lean loop leaves to it."""
