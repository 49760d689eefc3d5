"""Vectors of a row's tokens, kept beside its cache where a decision wants them.

The queries of the newest tokens, or the residual stream that each attention read, as one head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.model_cost import ModelShape


@final
class Queries:
    """Queries of the tokens since `start`: [slots, kv_heads, group, tokens, head_size]."""

    def __init__(self, shape: ModelShape, slots: int, *, room: int, dtype: torch.dtype) -> None:
        """Make room for so many tokens; it grows when they are used up."""
        group = shape.heads // shape.kv_heads
        self._buffer = torch.empty(slots, shape.kv_heads, group, room, shape.head_size, dtype=dtype)
        self._shared = False
        self.start = 0
        """Tokens of the row before the first of them."""

    @property
    def bytes(self) -> int:
        """Bytes of the buffer."""
        return self._buffer.numel() * self._buffer.element_size()

    def put(self, slot: int, queries: torch.Tensor, token: int) -> None:
        """Keep the queries [kv_heads, group, n, head_size] of a row's tokens from `token` on."""
        at, n = token - self.start, queries.shape[2]
        if self._shared or at + n > self._buffer.shape[3]:
            self._own(at + n)
        self._buffer[slot, :, :, at : at + n] = queries

    def newest(self, slot: int, n: int, tokens: int) -> torch.Tensor:
        """Return those of the newest n of a row's tokens, [kv_heads, group, n, head_size]."""
        at = tokens - self.start
        return self._buffer[slot, :, :, at - n : at]

    def keep(self, tokens: int, n: int, path: Sequence[int]) -> None:
        """Of the newest n of a row's tokens keep those at the rising places `path`."""
        if self._shared:
            self._own(0)
        first = tokens - self.start - n
        moved = self._buffer[:, :, :, [first + place for place in path]]
        self._buffer[:, :, :, first : first + len(path)] = moved

    def first(self, slot: int, n: int) -> torch.Tensor:
        """Return those of a row's first n tokens, of its only head: [n, head_size]."""
        return self._buffer[slot, 0, 0, :n]

    def reserve(self, room: int) -> None:
        """See to it that so many tokens fit."""
        if room > self._buffer.shape[3]:
            self._own(room)

    def restart(self, tokens: int, room: int) -> None:
        """Forget all of them: those of a row's tokens from here on are kept, with so much room."""
        slots, heads, group, had, size = self._buffer.shape
        if had > room:
            self._buffer = self._buffer.new_empty(slots, heads, group, room, size)
            self._shared = False
        self.start = tokens

    def fork(self) -> Queries:
        """Return a second record; whoever writes first makes a copy."""
        twin = object.__new__(Queries)
        twin._buffer, twin.start = self._buffer, self.start
        twin._shared = self._shared = True
        return twin

    def _own(self, room: int) -> None:
        old = self._buffer
        grown = old.new_empty(*old.shape[:3], max(room, old.shape[3]), old.shape[4])
        grown[:, :, :, : old.shape[3]] = old
        self._buffer, self._shared = grown, False
