"""Random models of every shape for the suite `models`: `transformers`' own configurations."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

VOCABULARY = 8192
_COMMON = MappingProxyType(
    {
        "vocab_size": VOCABULARY,
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
)


class Shape(NamedTuple):
    """A configuration of `transformers`: its class and what it has beside the common entries."""

    config: str
    entries: Mapping[str, Any] = MappingProxyType({})


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "llama": Shape("LlamaConfig"),
        "mistral": Shape("MistralConfig", {"sliding_window": 256}),
        "qwen2": Shape("Qwen2Config"),
        "qwen3": Shape("Qwen3Config", {"head_dim": 64}),
        "phi3": Shape("Phi3Config"),
        "gemma2": Shape(
            "Gemma2Config",
            {"head_dim": 64, "sliding_window": 256, "attn_implementation": "eager"},
        ),
        "gemma3": Shape("Gemma3TextConfig", {"head_dim": 64, "sliding_window": 256}),
        "gpt2": Shape("GPT2Config"),
        "gpt_neox": Shape("GPTNeoXConfig"),
        "opt": Shape("OPTConfig", {"ffn_dim": 1408, "word_embed_proj_dim": 512}),
    }
)
"""By their names in tables; the last three have no lean loop and run on their own module."""


def random_module(name: str, dtype: torch.dtype) -> Any:
    """Return a random causal language model of a shape."""
    import transformers

    torch.manual_seed(0)
    config, entries = SHAPES[name]
    made = getattr(transformers, config)(**{**_COMMON, **entries})
    causal: Any = transformers.AutoModelForCausalLM
    return causal.from_config(made).to(dtype).eval()


def byte_tokenizer() -> Any:
    """Return a fast tokenizer whose tokens are bytes, behind three control tokens."""
    import tokenizers
    import transformers

    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    control = ["<s>", "</s>", "<pad>"]
    vocabulary = {token: i for i, token in enumerate([*control, *letters])}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(control)
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(tokenizer_object=backend, eos_token="</s>")
