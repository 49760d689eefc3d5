"""A layer's weights from the file to the forms in which they are multiplied.

Matrices of equal input are stacked. Rows of the query and key projections are stored in pair
order, as the file has them, because the rotary embedding is applied as a complex product; scores
do not change when both are permuted alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.engines.kept_tensors import kept_path
from rheostat.engines.mapped_pages import place_of
from rheostat.engines.torch_levels import LevelMatrix
from rheostat.engines.torch_matrix import Forms, Matrix
from rheostat.engines.torch_norms import norm_dtype
from rheostat.engines.weight_names import FUSED

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from rheostat.engines.weights_cache import LoadedModel
    from rheostat.kernel.model_cost import ModelShape


class Layer(NamedTuple):
    """One layer's weights, in the forms in which they are multiplied."""

    attention_norm: torch.Tensor
    qkv: Matrix | LevelMatrix
    out: Matrix | LevelMatrix
    mlp_norm: torch.Tensor
    gate_up: Matrix | LevelMatrix
    down: Matrix | LevelMatrix
    qkv_bias: torch.Tensor | None = None
    q_norm: torch.Tensor | None = None
    k_norm: torch.Tensor | None = None
    attention_post_norm: torch.Tensor | None = None
    mlp_post_norm: torch.Tensor | None = None


def fused_weights(
    loaded: LoadedModel, layer: int, dtype: torch.dtype, *, without: Container[str] = ()
) -> dict[str, torch.Tensor]:
    """Return one layer's matrices, those of equal input stacked, and its norms.

    Args:
        without: names of stacked matrices that are held elsewhere; they are not read.
    """
    tensors, size = loaded.tensors, loaded.shape.head_size
    architecture = loaded.architecture
    turned = architecture.rotated

    def part(name: str, kind: str = "weight") -> torch.Tensor:
        weight = tensors[f"layers.{layer}.{name}.{kind}"]
        paired = name in ("q", "k", "q_norm", "k_norm")
        return _paired(weight, size, turned) if paired else weight

    fused = {
        name: torch.cat([part(one) for one in parts]).to(dtype)
        for name, parts in FUSED.items()
        if name not in without
    }
    norms = {"attention_norm": "attn_norm", "mlp_norm": "mlp_norm"}
    if architecture.head_norms:
        norms |= {"q_norm": "q_norm", "k_norm": "k_norm"}
    if architecture.post_norms:
        norms |= {"attention_post_norm": "attn_post_norm", "mlp_post_norm": "mlp_post_norm"}
    # copies: a vector that stayed in the mapped file would hold pages of its neighbours
    wide = norm_dtype(architecture, dtype)
    vectors = {name: part(one).to(wide, copy=True) for name, one in norms.items()}
    if architecture.biases:
        vectors["qkv_bias"] = torch.cat([part(one, "bias") for one in FUSED["qkv"]]).to(dtype)
    return fused | vectors


def head_weight(loaded: LoadedModel) -> torch.Tensor:
    """Return the output head, float32 [vocabulary, width]: the embedding when tied."""
    return loaded.tensors["embed.weight" if loaded.shape.tied else "head.weight"].float()


def head_path(loaded: LoadedModel, dtype: torch.dtype) -> Path | None:
    """Return where the head in eight bits is kept; None = the weights are in memory alone."""
    if place_of(loaded.tensors["embed.weight"]) is None:
        return None
    return kept_path(loaded.digest, f"head-{str(dtype).removeprefix('torch.')}-v1")


def fused_levels(levels: Mapping[str, torch.Tensor], layer: int) -> dict[str, torch.Tensor]:
    """Return those of one layer's stacked matrices that are held in four bits, packed."""
    names = {name: f"layers.{layer}.{name}" for name in FUSED}
    return {name: levels[full] for name, full in names.items() if full in levels}


def laid_out_layer(
    weights: Mapping[str, torch.Tensor], forms: Forms, levels: Mapping[str, torch.Tensor]
) -> Layer:
    """Return a layer with each matrix in its form."""
    dense = {n: w if w.ndim == 1 else Matrix(w, forms) for n, w in weights.items()}
    return Layer(**dense, **{n: LevelMatrix(matrix, forms) for n, matrix in levels.items()})  # type: ignore[arg-type]  # norms are vectors, the rest are matrices


def layer_bytes(layers: Sequence[Layer], shape: ModelShape, rows: int) -> tuple[float, float]:
    """Return the mean bytes of an attention's and of an MLP's weights, read over so many rows."""
    attention = sum(
        layer.qkv.weight_bytes(rows) * shape.qkv_weights
        + layer.out.weight_bytes(rows) * shape.out_weights
        for layer in layers
    )
    mlp = sum(
        (2 * layer.gate_up.weight_bytes(rows) + layer.down.weight_bytes(rows)) / 3
        for layer in layers
    )
    return attention / len(layers), mlp * shape.mlp_weights / len(layers)


def _paired(weight: torch.Tensor, head_size: int, rotated: int) -> torch.Tensor:
    """Reorder entries (j, j + half) of each head's rotated ones into neighbours.

    Args:
        weight: [heads * head_size, ...].
        rotated: how many of a head's first entries are rotated.
    """
    order = torch.arange(head_size)
    order[:rotated] = order[:rotated].view(2, -1).T.flatten()
    return weight.view(-1, head_size, *weight.shape[1:])[:, order].reshape(weight.shape)
