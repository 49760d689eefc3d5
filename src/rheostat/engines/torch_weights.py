"""A layer's weights from the file to the forms in which they are multiplied.

Matrices of equal input are stacked. Rows of the query and key projections are stored in pair
order, as the file has them, because the rotary embedding is applied as a complex product; scores
do not change when both are permuted alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.engines.torch_levels import LevelMatrix, Levels, fits
from rheostat.engines.torch_matrix import Forms, Matrix

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from rheostat.engines.weights_cache import LoadedModel

_FUSED = {"qkv": ("q", "k", "v"), "out": ("o",), "gate_up": ("gate", "up"), "down": ("down",)}
"""A layer's stacked matrices and their parts, in order."""


class Layer(NamedTuple):
    """One layer's weights, in the forms in which they are multiplied."""

    attention_norm: torch.Tensor
    qkv: Matrix | LevelMatrix
    out: Matrix | LevelMatrix
    mlp_norm: torch.Tensor
    gate_up: Matrix | LevelMatrix
    down: Matrix | LevelMatrix


def fused_weights(
    loaded: LoadedModel, layer: int, dtype: torch.dtype, *, without: Container[str] = ()
) -> dict[str, torch.Tensor]:
    """Return one layer's matrices, those of equal input stacked, and its norms.

    Args:
        without: names of stacked matrices that are held elsewhere; they are not read.
    """
    tensors, size = loaded.tensors, loaded.shape.head_size

    def part(name: str) -> torch.Tensor:
        weight = tensors[f"layers.{layer}.{name}.weight"]
        return _paired(weight, size) if name in ("q", "k") else weight

    fused = {
        name: torch.cat([part(one) for one in parts]).to(dtype)
        for name, parts in _FUSED.items()
        if name not in without
    }
    norms = {"attention_norm": "attn_norm", "mlp_norm": "mlp_norm"}
    return fused | {name: part(one).to(dtype) for name, one in norms.items()}


def head_weight(loaded: LoadedModel) -> torch.Tensor:
    """Return the output head, float32 [vocabulary, width]: the embedding when tied."""
    return loaded.tensors["embed.weight" if loaded.shape.tied else "head.weight"]


def fused_levels(levels: Mapping[str, Levels], layer: int) -> dict[str, Levels]:
    """Return those of one layer's stacked matrices whose parts are all held in four bits.

    The file's row order of queries and keys is the one that `fused_weights` makes.
    """
    fused = {}
    for name, parts in _FUSED.items():
        found = [levels.get(f"layers.{layer}.{part}.weight") for part in parts]
        held = [matrix for matrix in found if matrix is not None]
        if len(held) == len(parts) and fits(joined := Levels.joined(held)):
            fused[name] = joined
    return fused


def laid_out_layer(
    weights: Mapping[str, torch.Tensor], forms: Forms, levels: Mapping[str, Levels]
) -> Layer:
    """Return a layer with each matrix in its form."""
    dense = {n: w if w.ndim == 1 else Matrix(w, forms) for n, w in weights.items()}
    return Layer(**dense, **{n: LevelMatrix(matrix, forms) for n, matrix in levels.items()})  # type: ignore[arg-type]  # norms are vectors, the rest are matrices


def _paired(weight: torch.Tensor, head_size: int) -> torch.Tensor:
    """Reorder rows (j, j + half) of each head into neighbours."""
    heads = weight.view(-1, 2, head_size // 2, weight.shape[1])
    return heads.transpose(1, 2).reshape(weight.shape)
