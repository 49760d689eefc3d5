"""Names and shapes of a llama's weights, the vocabulary between files and the torch engine.

Matrices have Hugging Face's orientation [out, in] and row order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rheostat.kernel.model_cost import ModelShape


def weight_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return every weight's name with its shape, in the order in which they are stored."""
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
    return shapes
