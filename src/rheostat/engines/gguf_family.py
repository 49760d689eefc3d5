"""What a GGUF file's architecture means: llama.cpp's names and row order, and the forward pass.

llama.cpp leaves out of a file what its own code knows of a family; for Gemma 3 (arXiv:2503.19786)
that is every sixth layer's global attention, the base of the local layers' rotary embedding and
the factor of the attention scores. Its norms are stored as they are multiplied, with the 1 added.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, final

from rheostat.engines.architecture import Architecture, llama, rope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.engines.gguf_metadata import Metadata
    from rheostat.kernel.model_cost import ModelShape

_NAMES = {
    "embed": "token_embd",
    "norm": "output_norm",
    "head": "output",
    "attn_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_GEMMA_NAMES = {
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "attn_post_norm": "post_attention_norm",
    "mlp_post_norm": "post_ffw_norm",
}
_GEMMA_LOCAL_THETA = 10000.0
_GEMMA_PATTERN = 6
"""Every sixth layer attends to all of the text."""
_GEMMA_27B_LAYERS = 62
"""The one size whose scores are scaled by width / heads and not by the size of a head."""


@final
@dataclass(frozen=True, kw_only=True)
class Family:
    """How files of an architecture are read."""

    names: Mapping[str, str]
    """llama.cpp's names of weights by ours."""
    interleaved: bool
    """Whether the rows of queries and keys are in the order of llama.cpp's rotary embedding."""
    windowed: bool
    decoder: Callable[[Metadata, ModelShape], Architecture]


def _llama(metadata: Metadata, shape: ModelShape) -> Architecture:
    return llama(
        layers=shape.layers,
        eps=metadata.positive("llama.attention.layer_norm_rms_epsilon"),
        rope=rope_of(shape.head_size, metadata.positive("llama.rope.freq_base", 10000.0)),
    )


def _gemma3(metadata: Metadata, shape: ModelShape) -> Architecture:
    window = metadata.size("gemma3.attention.sliding_window")
    local = [(layer + 1) % _GEMMA_PATTERN > 0 for layer in range(shape.layers)]
    large = shape.layers == _GEMMA_27B_LAYERS
    theta = metadata.positive("gemma3.rope.freq_base", 1e6)
    return Architecture(
        eps=metadata.positive("gemma3.attention.layer_norm_rms_epsilon"),
        ropes=(rope_of(shape.head_size, theta), rope_of(shape.head_size, _GEMMA_LOCAL_THETA)),
        rope_of=tuple(int(one) for one in local),
        windows=tuple(window if one else 0 for one in local),
        activation="gelu_tanh",
        head_norms=True,
        post_norms=True,
        embedding_scale=shape.width**0.5,
        score_scale=(shape.width / shape.heads if large else shape.head_size) ** -0.5,
    )


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": Family(names=_NAMES, interleaved=True, windowed=False, decoder=_llama),
        "gemma3": Family(
            names=_NAMES | _GEMMA_NAMES, interleaved=False, windowed=True, decoder=_gemma3
        ),
    }
)
"""By the file's `general.architecture`."""
