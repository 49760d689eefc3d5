"""Queries, keys and values of new tokens: one layer's projection, its norms and its rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.engines.torch_norms import rms_normed
from rheostat.engines.torch_rotary import turn

if TYPE_CHECKING:
    import torch

    from rheostat.engines.torch_weights import Layer
    from rheostat.kernel.model_cost import ModelShape


def projected(
    layer: Layer, normed: torch.Tensor, turns: torch.Tensor, *, shape: ModelShape, eps: float
) -> torch.Tensor:
    """Return queries, keys and values, [n, (heads + 2 kv_heads) * head_size].

    Args:
        layer: whose attention they are for.
        normed: the residual stream behind the attention's norm, [n, width].
        turns: complex64 [n, pairs]: the positions' rotations.
        shape: the model's.
        eps: of its norms.
    """
    qkv = layer.qkv(normed)
    if layer.qkv_bias is not None:
        qkv = qkv + layer.qkv_bias
    size = shape.head_size
    q_size, k_end = shape.heads * size, (shape.heads + shape.kv_heads) * size
    if layer.q_norm is not None and layer.k_norm is not None:
        for part, weight in ((qkv[:, :q_size], layer.q_norm), (qkv[:, q_size:k_end], layer.k_norm)):
            heads = part.view(len(part), -1, size)
            heads.copy_(rms_normed(heads, weight, eps))
    turn(qkv[:, :k_end], turns.unsqueeze(1), size)
    return qkv
