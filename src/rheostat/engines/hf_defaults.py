"""What a configuration means where it leaves an entry out: the defaults of `transformers`.

A default is not the same in every family, and a wrong one gives other logits without a word. A
test compares these with the installed package, entry by entry.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NULLABLE = frozenset(
    {
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "head_dim",
        "num_key_value_heads",
        "sliding_window",
    }
)
"""Entries whose `null` means something else than their absence: none, or as many as there are."""
_ALL: Mapping[str, Any] = MappingProxyType(
    {"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False}
)
_QWEN = MappingProxyType(
    {
        "max_position_embeddings": 32768,
        "max_window_layers": 28,
        "num_key_value_heads": 32,
        "sliding_window": 4096,
        "use_sliding_window": False,
    }
)
_GEMMA = MappingProxyType(
    {
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
    }
)
_OWN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": {"max_position_embeddings": 2048},
        "mistral": {
            "max_position_embeddings": 131072,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
        },
        "qwen2": _QWEN,
        "qwen3": {**_QWEN, "head_dim": 128},
        "phi3": {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
        "gemma2": {
            **_GEMMA,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "max_position_embeddings": 8192,
        },
        "gemma3_text": {**_GEMMA, "max_position_embeddings": 131072},
    }
)


def filled(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's entries with the family's defaults for those that are left out."""
    given = {k: v for k, v in values.items() if v is not None or k in NULLABLE}
    return {**_ALL, **_OWN[family], **given}
