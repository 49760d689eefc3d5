"""Layers run with fused small operations: what lies between two products is one call.

For steps over few tokens whose sub-layers all run for every token. The residual stream and the
update that the last sub-layer adds to it are kept apart until the next norm adds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

import torch
import torch.nn.functional as F

from rheostat.engines.torch_attend_rows import OneToken
from rheostat.engines.torch_fused import FUSED_ROWS, Fused, fused_ops
from rheostat.engines.torch_level_step import LevelStep
from rheostat.engines.torch_levels import LevelMatrix
from rheostat.engines.torch_masks import first_seen, mask_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_attend_rows import RowsAttention
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_fused import FusedOps
    from rheostat.engines.torch_matrix import Forms
    from rheostat.engines.torch_model import Feed
    from rheostat.engines.torch_ways import Way
    from rheostat.engines.torch_weights import Layer
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Layout


class PackedRow(NamedTuple):
    """A row's place among the new tokens of a pass."""

    cache: RowCache
    start: int
    end: int
    mask: torch.Tensor | None
    """Additive, [group * n, T + n - first]; None = everything from `first` on is seen."""
    ahead: int = 0
    """Tokens between those that the cache counts and the first new one."""
    first: int = 0
    """Entries that lie before what any new token sees."""
    places: Sequence[int] = ()
    """Of the new tokens in their text, where they may be rebuilt."""

    def one_token(self) -> OneToken | None:
        """Return the row as a call for many rows takes it; None where it is attended by itself.

        It is taken where one token sees all that came before, held as it was written.
        """
        parts = self.cache.parts() if self.end - self.start == 1 and self.mask is None else None
        if parts is None:
            return None
        *shared, own = parts
        return OneToken([*shared, own._replace(length=own.length + self.ahead)], self.start)

    def note(self, slot: int, stream: torch.Tensor) -> None:
        """Keep what one attention reads of the row, [n, width], where that is wanted."""
        kept = self.cache.residuals
        if kept is not None:
            own = stream[self.start : self.end]
            kept.put(slot, own[None, None], self.cache.length + self.ahead)

    def put(self, slot: int, kv: torch.Tensor) -> torch.Tensor:
        """Write the row's part of kv [n, 2, kv_heads, head_size]; return [T + n - first, ...]."""
        n = self.end - self.start
        self.cache.room(slot, n, self.ahead)[:] = kv[self.start : self.end]
        self.rewrite(slot)
        return self.cache.held(slot, n, self.ahead, first=self.first)

    def rewrite(self, slot: int) -> None:
        """Hold the newest keys and values in the bits of a rebuilding, where there will be one."""
        cache, n = self.cache, self.end - self.start
        if cache.rebuild and cache.residuals and cache.rebuild.rewrites:
            stream = cache.residuals.first(slot, cache.length + self.ahead + n)[-n:]
            cache.room(slot, n, self.ahead)[:] = cache.rebuild.written(slot, stream, self.places)

    def mask_of(self, slot: int, queries: torch.Tensor) -> torch.Tensor | None:
        """Return the mask of one attention, and keep its queries where they are wanted.

        Args:
            slot: the attention's place in the cache.
            queries: [1, kv_heads, group * n, head_size].
        """
        cache, n = self.cache, self.end - self.start
        if cache.borders is None:
            return self.mask
        if cache.queries:
            apart = queries.view(queries.shape[1], -1, n, queries.shape[3])
            cache.queries.put(slot, apart, cache.length + self.ahead)
        bias = cache.bias(slot, n, self.ahead)
        if bias is None:
            return self.mask
        bias = bias[None, :, None].to(queries.dtype)
        return bias if self.mask is None else bias + self.mask


def packed_rows(
    feeds: Sequence[Feed], group: int, *, window: int, dtype: torch.dtype, device: torch.device
) -> list[PackedRow]:
    """Return the rows of a pass, as attentions see them that look `window` tokens back (0 = all).

    Args:
        group: query heads that share a key-value head.
    """
    rows, start = [], 0
    for feed in feeds:
        n = len(feed.tokens)
        held = feed.cache.entries + feed.ahead
        mask = mask_of(feed.parents, n, held=held, window=window, dtype=dtype)
        mask = None if mask is None else torch.cat([mask] * group).to(device)
        places = feed.places(feed.cache.length + feed.ahead) if feed.cache.rebuild else ()
        first = first_seen(held, window)
        rows.append(PackedRow(feed.cache, start, start + n, mask, feed.ahead, first, places))
        start += n
    return rows


class Attended(NamedTuple):
    """The rows of a pass by the way in which they are attended."""

    together: RowsAttention | None
    """Those of one token, in one call a layer."""
    alone: Sequence[PackedRow]
    """The others, in calls of their own."""


class View(NamedTuple):
    """What one kind of attention sees of a pass."""

    rows: Sequence[PackedRow]
    turns: torch.Tensor
    """Complex64 [n, pairs]."""


@final
class FusedStack:
    """The layers of a model whose products share a number format."""

    def __init__(
        self,
        shape: ModelShape,
        layers: Sequence[Layer],
        eps: float,
        ops: FusedOps,
        level_rows: int = 0,
    ) -> None:
        """Keep what is shared with the model.

        Args:
            level_rows: up to so many tokens all layers are run in one call, FUSED_ROWS at most.
        """
        self._shape = shape
        self._layers = layers
        self._eps = eps
        self._ops = ops
        self._level_rows = level_rows
        self._step = LevelStep(shape, layers, eps) if level_rows else None

    @property
    def reads_parts(self) -> bool:
        """Whether a step is as fast on caches that lie in parts as on others."""
        return self._step is None

    def takes(self, rows: Sequence[PackedRow]) -> bool:
        """Return whether a pass over these rows is small enough, or brings one token each."""
        return rows[-1].end <= max(FUSED_ROWS, len(rows))

    def way(self, *, decided: bool, compacted: bool) -> Way:
        """Return how a short pass runs: here without policies, compiled over whole caches."""
        if decided:
            return "decided"
        return "compacted" if compacted else "plain"

    def run(
        self,
        x: torch.Tensor,
        rows: Sequence[PackedRow],
        turns: torch.Tensor,
        *,
        layout: Layout,
        slots: Layout,
    ) -> torch.Tensor:
        """Return the residual stream [n, width] behind the sub-layers of a layout.

        Args:
            x: the stream that enters the first of them, [n, width].
            rows: where each row's tokens lie in it.
            turns: complex64 [n, head_size / 2].
            layout: the sub-layers that run.
            slots: the layout that the caches were made for.
        """
        if self._step and len(x) <= self._level_rows and self._step.takes(rows):
            return self._step.run(x, rows, turns, layout=layout, slots=slots)
        update: torch.Tensor | None = None
        attended = self._parted(rows)
        slot = 0
        for index, layer in enumerate(self._layers):
            if layout.attention[index]:
                x, normed = self._ops.add_norm(x, update, layer.attention_norm, self._eps)
                for row in attended.alone:
                    row.note(slot, x)
                update = layer.out(self._attended(layer.qkv(normed), attended, turns, slot))
            slot += slots.attention[index]
            if layout.mlp[index]:
                x, normed = self._ops.add_norm(x, update, layer.mlp_norm, self._eps)
                update = layer.down(self._ops.gate(layer.gate_up(normed)))
        return x if update is None else (x + update).to(x.dtype)

    def _parted(self, rows: Sequence[PackedRow]) -> Attended:
        shape = self._shape
        found = [(row, row.one_token()) for row in rows]
        together = [one for _, one in found if one]
        group = shape.heads // shape.kv_heads
        alone = [row for row, one in found if one is None]
        if not together:
            return Attended(None, alone)
        attend = self._ops.attend.of(together, kv_heads=shape.kv_heads, group=group)
        return Attended(attend, alone)

    def _attended(
        self, qkv: torch.Tensor, rows: Attended, turns: torch.Tensor, slot: int
    ) -> torch.Tensor:
        shape, ops = self._shape, self._ops
        group = shape.heads // shape.kv_heads
        out = torch.empty(len(qkv), shape.heads * shape.head_size, dtype=ops.product)
        if rows.together:
            rows.together(qkv, turns, slot, out)
        for row in rows.alone:
            n = row.end - row.start
            room = row.cache.room(slot, n, row.ahead)
            own = slice(row.start, row.end)
            queries = ops.turn(qkv[own], turns[own], room, group)
            row.rewrite(slot)
            held = row.cache.held(slot, n, row.ahead)
            keys, values = held.permute(1, 2, 0, 3)[:, None]
            mask = row.mask_of(slot, queries)
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            ops.gather(attended, out[own])
        return out


class Stacked(NamedTuple):
    """The fused layers, or why there are none."""

    stack: FusedStack | None
    reason: str = ""


def fused_stack(
    shape: ModelShape, layers: Sequence[Layer], eps: float, dtype: torch.dtype, forms: Forms
) -> Stacked:
    """Return the layers with fused operations where their products share a format."""
    matrices = [m for layer in layers for m in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    four_bits = {isinstance(matrix, LevelMatrix) for matrix in matrices}
    if len(four_bits) > 1:
        return Stacked(None, "some matrices are in four bits and some are not")
    own = four_bits == {True} and forms.level_own and dtype == torch.float32
    fused: Fused = fused_ops(dtype, torch.bfloat16 if four_bits == {True} and not own else dtype)
    if fused.ops is None:
        return Stacked(None, fused.reason)
    most = min(forms.level_rows, FUSED_ROWS) if own else 0
    return Stacked(FusedStack(shape, layers, eps, fused.ops, most))
