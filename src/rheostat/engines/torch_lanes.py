"""Rows side by side in one buffer, their newest tokens beside each other.

What one operation reads of many rows then is one stretch of the buffer, as of texts that are padded
on the left: distances between a row's tokens are true ones, and nothing is copied from step to step
while the same rows go on together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final
from weakref import ref

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_cache import RowCache
    from rheostat.kernel.model_cost import ModelShape

ROOM = 64
"""Tokens that a new buffer has room for behind the longest row, at least."""


class _Lane(NamedTuple):
    """Where a row lies."""

    owner: ref[RowCache]
    room: torch.Tensor
    """The buffer that it was lent."""
    offset: int
    """Places of the lane before it."""


@final
class Lanes:
    """A buffer [rows, slots, places, 2, kv_heads, head_size] that rows are lent parts of."""

    def __init__(
        self, shape: ModelShape, slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Hold nothing yet."""
        self._size = slots, 2, shape.kv_heads, shape.head_size
        self._dtype, self._device = dtype, device
        self._lanes: list[_Lane | None] = []
        self._held = self._empty(0, 0)
        self._lending = False

    def lend(self, caches: Sequence[RowCache]) -> int:
        """Let row i lie in lane i; return the place of every row's next token.

        There is room for it. A row that has to move is copied once; one that lay in a lane and is
        not asked for moves out.
        """
        self._lending = True
        try:
            return self._lent(caches)
        finally:
            self._lending = False

    def stretch(self, slot: int, rows: int, first: int, end: int) -> torch.Tensor:
        """Return the places from `first` on of a slot, [rows, places, 2, kv_heads, head_size]."""
        return self._held[:rows, slot, first:end]

    def _lent(self, caches: Sequence[RowCache]) -> int:
        longest = max(cache.length for cache in caches)
        place = self._place(caches)
        rows, places = self._held.shape[0], self._held.shape[2]
        if place is None or place < longest or place >= places or len(caches) > rows:
            place = longest
            if len(caches) > rows or longest >= places:
                places = max(longest + max(ROOM, longest // 2), places)
                self._held = self._empty(max(len(caches), rows), places)
        for lane, cache in enumerate(caches):
            if not self._lies(lane, cache, place):
                self._move(lane, cache, place)
        return place

    def _place(self, caches: Sequence[RowCache]) -> int | None:
        """Return where the next token of the first row that lies in its lane is."""
        for lane, cache in zip(self._lanes, caches, strict=False):
            if lane is not None and lane.owner() is cache and cache.lies_in(lane.room):
                return lane.offset + cache.length
        return None

    def _lies(self, lane: int, cache: RowCache, place: int) -> bool:
        known = self._lanes[lane]
        return (
            known is not None
            and known.owner() is cache
            and cache.lies_in(known.room)
            and known.offset + cache.length == place
        )

    def _move(self, lane: int, cache: RowCache, place: int) -> None:
        known = self._lanes[lane]
        owner = known.owner() if known is not None else None
        if known is not None and owner is not None and owner.lies_in(known.room):
            owner.move_out()
        cache.move_out()
        offset = place - cache.length
        room = self._held[lane, :, offset:]
        cache.move_into(room)
        self._lanes[lane] = _Lane(ref(cache, self._ended), room, offset)

    def _ended(self, _: ref[RowCache]) -> None:
        """Hold nothing once no row lies here."""
        if not self._lending and not any(lane and lane.owner() for lane in self._lanes):
            self._held = self._empty(0, 0)

    def _empty(self, rows: int, places: int) -> torch.Tensor:
        """Return a buffer of zeros: what is hidden gets no weight, but must be a number."""
        slots, *cell = self._size
        self._lanes = [None] * rows  # rows in an older buffer hold on to it by themselves
        with torch.inference_mode(mode=False):
            return torch.zeros(rows, slots, places, *cell, dtype=self._dtype, device=self._device)
