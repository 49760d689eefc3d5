"""Attention as a model has it: torch's own function, with soft caps, or token by token.

A soft cap keeps a number within (-cap, cap): cap * tanh(x / cap), as in Gemma 2
(arXiv:2408.00118).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from rheostat.engines.torch_fixed_rows import attended_one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.engines.architecture import Architecture
    from rheostat.kernel.model_cost import ModelShape

    Attend = Callable[..., torch.Tensor]


def attention_of(architecture: Architecture, shape: ModelShape, *, fixed: bool) -> Attend:
    """Return a function with the arguments of torch's `scaled_dot_product_attention`.

    Args:
        fixed: every token attends by itself (`torch_fixed_rows`).
    """
    cap = architecture.score_cap
    attend: Attend = partial(attended_capped, cap=cap) if cap else F.scaled_dot_product_attention
    if not fixed:
        return attend
    return partial(attended_one_by_one, attend, group=shape.heads // shape.kv_heads)


def by_key_heads(q: torch.Tensor, shape: ModelShape) -> torch.Tensor:
    """Return queries [n, heads * head_size] as [1, kv_heads, group * n, head_size].

    The queries that share a key-value head are queries of one attention: no copy of K and V.
    """
    n, group = len(q), shape.heads // shape.kv_heads
    if n > 1:
        q = q.reshape(n, shape.kv_heads, group, shape.head_size).permute(1, 2, 0, 3)
    return q.reshape(1, shape.kv_heads, group * n, shape.head_size)


def by_tokens(out: torch.Tensor, shape: ModelShape) -> torch.Tensor:
    """Return what `by_key_heads` asked for as [n, heads * head_size]."""
    group = shape.heads // shape.kv_heads
    n = out.shape[2] // group
    if n == 1:
        return out.view(1, -1)
    out = out.view(shape.kv_heads, group, n, shape.head_size).permute(2, 0, 1, 3)
    return out.reshape(n, -1)


def attended_capped(  # noqa: PLR0913  # the arguments of torch's own function
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attn_mask: torch.Tensor | None,
    *,
    cap: float,
    scale: float | None = None,
) -> torch.Tensor:
    """Attend with capped scores; weights are summed in float32.

    Args:
        queries: [..., n, head_size].
        keys: [..., T, head_size].
        values: as the keys.
        attn_mask: additive, [..., n, T]; None = everything is seen.
        cap: of the scores.
        scale: factor of the scores; None = 1 / sqrt(head_size).
    """
    scores = queries @ keys.transpose(-1, -2) * (scale or queries.shape[-1] ** -0.5)
    scores = capped(scores, cap)
    if attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(values.dtype) @ values


def capped(x: torch.Tensor, cap: float) -> torch.Tensor:
    """Return x kept within (-cap, cap); 0 = as it is."""
    return torch.tanh(x / cap) * cap if cap else x
