"""Arithmetic that does not depend on what else is computed: the numerics of `--dtype reproducible`.

A product over one row rounds otherwise than one over sixteen, and attention over a block of tokens
otherwise than over one, so that an answer may change with the batch it runs in, with a draft or
with the length of a pass. Here products are our own, whose rows do not depend on each other, or,
where there is no compiler, over the same number of rows, padded where there are fewer; and every
token attends by itself to just the entries that it sees. What a token gets is then the same, bit
for bit, however the tokens around it were read (ours; the question is that of arXiv:2506.09501). It
holds on one machine with one number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rheostat.kernel.model_cost import ModelShape

ROWS = 4
"""Rows of every product: the fewest whose products cost little more than over one row, while long
texts cost hardly more than in wide products."""


def padded(n: int) -> int:
    """Return the rows that a product over n of them takes."""
    return -(-n // ROWS) * ROWS


def multiplied_in_fixed_rows(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return x [n, in] times the transposed weight [out, in], every product over `ROWS` rows."""
    whole = F.pad(x, (0, 0, 0, padded(len(x)) - len(x)))
    parts = [F.linear(part, weight) for part in torch.split(whole, ROWS)]
    made = parts[0] if len(parts) == 1 else torch.cat(parts)
    return made[: len(x)]


def attended_one_by_one(  # noqa: PLR0913  # the arguments of torch's own function
    attend: Callable[..., torch.Tensor],
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attn_mask: torch.Tensor | None,
    *,
    group: int,
    scale: float | None = None,
) -> torch.Tensor:
    """Attend as torch's own function does, but every token by itself.

    Args:
        attend: attention over one token.
        queries: [1, kv_heads, group * n, head_size], the n tokens of each query head together.
        keys: [1, kv_heads, T, head_size].
        values: as the keys.
        attn_mask: additive, [group * n, T] or [1, kv_heads, 1 or group * n, T]; None = n is 1 and
            everything is seen.
        group: query heads that share a key-value head.
        scale: factor of the scores; None = 1 / sqrt(head_size).
    """
    n = queries.shape[2] // group
    shape = (1, keys.shape[1], queries.shape[2], keys.shape[2])
    mask = queries.new_zeros(1, 1, 1, 1) if attn_mask is None else attn_mask
    by_token = mask.expand(shape).unflatten(2, (group, n))  # type: ignore[no-untyped-call]  # torch's own
    asked = queries.unflatten(2, (group, n))  # type: ignore[no-untyped-call]  # torch's own
    tokens = [t.permute(2, 0, 1, 3) for t in (keys, values)]
    outs = []
    for i in range(n):
        own = by_token[:, :, :, i]
        seen = own[0, 0, 0].isfinite()
        k, v = (t[seen].permute(1, 2, 0, 3) for t in tokens)
        outs.append(
            attend(
                asked[:, :, :, i].contiguous(),
                k,
                v,
                attn_mask=own[..., seen].contiguous(),
                scale=scale,
            )
        )
    return torch.stack(outs, dim=3).flatten(2, 3)


def padding(
    shape: ModelShape, rows: int, *, attentions: int, widths: Iterable[int], head: int
) -> int:
    """Return the multiply-adds of a pass that the padding of its products takes."""

    def more(n: int) -> int:
        return padded(n) - n

    mlps = sum(more(width) for width in widths)
    attention = attentions * more(rows) * shape.attention_weights
    return attention + mlps * shape.mlp_weights + more(head) * shape.head_weights
