"""Names and shapes of a model's weights, the vocabulary between files and the torch engine.

Matrices have Hugging Face's orientation [out, in] and row order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rheostat.engines.architecture import Architecture
    from rheostat.kernel.model_cost import ModelShape


FUSED = {"qkv": ("q", "k", "v"), "out": ("o",), "gate_up": ("gate", "up"), "down": ("down",)}
"""A layer's stacked matrices and their parts, in order."""


def weight_shapes(
    shape: ModelShape, architecture: Architecture | None = None
) -> dict[str, tuple[int, ...]]:
    """Return every weight's name with its shape, in the order in which they are stored.

    Args:
        architecture: what there is besides a llama's weights; None = nothing.
    """
    queries = shape.heads * shape.head_size
    keys = shape.kv_heads * shape.head_size
    shapes: dict[str, tuple[int, ...]] = {
        "embed.weight": (shape.vocabulary, shape.width),
        "norm.weight": (shape.width,),
    }
    if not shape.tied:
        shapes["head.weight"] = (shape.vocabulary, shape.width)
    for i in range(shape.layers):
        shapes |= {
            f"layers.{i}.attn_norm.weight": (shape.width,),
            f"layers.{i}.q.weight": (queries, shape.width),
            f"layers.{i}.k.weight": (keys, shape.width),
            f"layers.{i}.v.weight": (keys, shape.width),
            f"layers.{i}.o.weight": (shape.width, queries),
            f"layers.{i}.mlp_norm.weight": (shape.width,),
            f"layers.{i}.gate.weight": (shape.inner, shape.width),
            f"layers.{i}.up.weight": (shape.inner, shape.width),
            f"layers.{i}.down.weight": (shape.width, shape.inner),
        }
        if architecture and architecture.biases:
            shapes |= {
                f"layers.{i}.q.bias": (queries,),
                f"layers.{i}.k.bias": (keys,),
                f"layers.{i}.v.bias": (keys,),
            }
        if architecture and architecture.head_norms:
            shapes |= {f"layers.{i}.{name}_norm.weight": (shape.head_size,) for name in "qk"}
        if architecture and architecture.post_norms:
            shapes |= {
                f"layers.{i}.{name}_post_norm.weight": (shape.width,) for name in ("attn", "mlp")
            }
    return shapes
