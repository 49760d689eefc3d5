"""Keys and values of one row, with truncate, keep, fork and borders where entries are let go.

Token-major: one buffer [slots, capacity, 2, kv_heads, head_size], a slot an attention that
exists. A static drop leaves no hole: slots are numbered over the attentions that are kept, and
positions come from the row's own counter, never from a slot's length. Until entries are let go,
every token has one; afterwards there are fewer, and a head's entries are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
import torch

from rheostat.engines.enough_memory import memory_told, row_told
from rheostat.engines.torch_coded import CodedPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_queries import Queries
    from rheostat.engines.torch_rebuild import Rebuilder
    from rheostat.kernel.model_cost import ModelShape


class Part(NamedTuple):
    """The first tokens of a buffer [slots, capacity, 2, kv_heads, head_size]."""

    buffer: torch.Tensor
    length: int

    def read(self, slot: int) -> torch.Tensor:
        """Return a slot's tokens, [length, 2, kv_heads, head_size]."""
        return self.buffer[slot, : self.length]


class Borders(NamedTuple):
    """After which of a row's tokens entries are let go."""

    first: int
    """Tokens before the first border: the prompt's."""
    every: int
    """Tokens between two borders."""

    def after(self, tokens: int) -> int:
        """Return the first border behind so many tokens."""
        if tokens < self.first:
            return self.first
        return self.first + ((tokens - self.first) // self.every + 1) * self.every

    def at(self, tokens: int) -> bool:
        """Return whether there is one after exactly so many tokens."""
        return tokens >= self.first and (tokens - self.first) % self.every == 0


@final
class RowCache:
    """The cache of one sequence."""

    def __init__(
        self,
        shape: ModelShape,
        slots: int,
        *,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> None:
        """Make an empty cache with room for `capacity` tokens; it grows when they are used up."""
        self._shape = shape
        self._slots = slots
        self._dtype = dtype
        self._device = device
        self._prefix: tuple[Part | CodedPart, ...] = ()
        self._own = self._empty(max(capacity, 1))
        self._own_length = 0
        self._lent: torch.Tensor | None = None
        self._gone = 0
        self._bias: torch.Tensor | None = None
        self.borders: Borders | None = None
        """Where entries are let go; None = nowhere."""
        self.queries: Queries | None = None
        """Those of the newest tokens, where they are wanted."""
        self.residuals: Queries | None = None
        """What each attention read of every token, where keys and values may be rebuilt."""
        self.rebuild: Rebuilder | None = None
        self.rebuilt = 0
        """First tokens whose keys and values are rebuilt when they are read."""
        self.settled = 0
        """Tokens up to the last border, which cannot be taken back."""
        self.states: tuple[object, ...] = (None,) * slots
        """What a cache decision knows of each slot; never changed in place."""

    @property
    def length(self) -> int:
        """Tokens read; the next one's position."""
        return self.entries + self._gone

    @property
    def entries(self) -> int:
        """Entries held in each slot."""
        return self.rebuilt + sum(part.length for part in self._prefix) + self._own_length

    @property
    def bytes(self) -> int:
        """Bytes that this row owns alone."""
        parts = [t.numel() * t.element_size() for t in (self._own, self._bias) if t is not None]
        coded = sum(part.bytes for part in self._prefix if isinstance(part, CodedPart))
        beside = sum(kept.bytes for kept in (self.queries, self.residuals) if kept)
        return sum(parts) + coded + beside + sum(map(_state_bytes, self.states))

    @property
    def room_to_border(self) -> int | None:
        """Tokens that a pass may read at most; None = as many as there are."""
        return None if self.borders is None else self.borders.after(self.length) - self.length

    def make_room(self, n: int) -> None:
        """See to it that n more tokens fit."""
        needed = self._own_length + n
        if needed > self._own.shape[1]:
            grown = self._empty(max(needed, 2 * self._own.shape[1]))
            more = grown.shape[1] - self._own.shape[1]
            if self._bias is not None:
                self._bias = torch.nn.functional.pad(self._bias, (0, more))
            grown[:, : self._own.shape[1]] = self._own  # what was written ahead as well
            self._own = grown

    def put(self, slot: int, kv: torch.Tensor, ahead: int = 0) -> torch.Tensor:
        """Write kv [n, 2, kv_heads, head_size] behind the held tokens; return all [T + n, ...].

        The length moves only with `advance`, after every slot was written. With `ahead`, so many
        tokens were written into this slot since then, and these come behind them.
        """
        n = kv.shape[0]
        self.room(slot, n, ahead)[:] = kv
        return self.held(slot, n, ahead)

    def room(self, slot: int, n: int, ahead: int = 0) -> torch.Tensor:
        """Return where n tokens of a slot are to be written, [n, 2, kv_heads, head_size]."""
        start = self._own_length + ahead
        return self._own[slot, start : start + n]

    def held(self, slot: int, n: int, ahead: int = 0, *, first: int = 0) -> torch.Tensor:
        """Return a slot's tokens, n written ones behind them: [T + n, 2, kv_heads, head_size].

        With `first`, so many of them are left out: of a row whose entries are all its tokens.
        """
        if first and not self.rebuilt:
            return self._behind(slot, first, n + ahead)
        own = self._own[slot, : self._own_length + ahead + n]
        if self.rebuild and self.residuals and self.rebuilt:
            rebuilt = self.rebuild(slot, self.residuals.first(slot, self.rebuilt))
            return torch.cat([rebuilt, *(part.read(slot) for part in self._prefix), own])[first:]
        if not self._prefix:
            return own
        return torch.cat([*(part.read(slot) for part in self._prefix), own])

    def _behind(self, slot: int, first: int, more: int) -> torch.Tensor:
        """Return a slot's tokens from `first` on and `more` behind them, out of the parts."""
        left, pieces = first, list[torch.Tensor]()
        for part in (*self._prefix, Part(self._own, self._own_length + more)):
            if left < part.length:
                pieces.append(part.read(slot)[left:])
            left = max(left - part.length, 0)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def whole(self) -> torch.Tensor | None:
        """Return the buffer [slots, capacity, 2, kv_heads, head_size] that holds every token.

        None for a row that shares a part with another, or whose entries may be fewer than its
        tokens.
        """
        return None if self._prefix or self.borders else self._own

    def parts(self) -> list[Part] | None:
        """Return what holds every token, in their order; the last part is the row's own.

        None for a row whose entries may be fewer than its tokens, or are held in another form.
        """
        shared = [part for part in self._prefix if isinstance(part, Part)]
        if self.borders or len(shared) < len(self._prefix):
            return None
        return [*shared, Part(self._own, self._own_length)]

    @property
    def capacity(self) -> int:
        """Tokens that fit into the row's own buffer."""
        return self._own.shape[1]

    def lies_in(self, buffer: torch.Tensor) -> bool:
        """Return whether the row's tokens are in a buffer that it was lent."""
        return self._own is buffer

    def move_into(self, buffer: torch.Tensor) -> None:
        """Hold the tokens in a lent buffer [slots, capacity, 2, kv_heads, head_size], zeros behind.

        What the row shared with others is its own there. It gives the buffer up by itself when it
        outgrows it, or shares what it holds.
        """
        n = self._write_into(buffer)
        buffer[:, n:] = 0
        self._prefix, self._own_length = (), n
        self._own = self._lent = buffer

    def move_out(self) -> None:
        """Give a lent buffer back: hold the tokens in one of the row's own."""
        if self._own is self._lent:
            own = self._empty(self.capacity)
            own[:, : self._own_length] = self._own[:, : self._own_length]
            self._own = own
        self._lent = None

    def advance(self, n: int) -> None:
        """Count n tokens that were written into every slot."""
        self._own_length += n

    def pad(self, n: int) -> None:
        """Hold n more tokens whose keys and values are zero: a context to time a pass after."""
        self.make_room(n)
        self._own[:, self._own_length : self._own_length + n] = 0
        self.advance(n)

    def truncate(self, length: int) -> None:
        """Forget all tokens from `length` on; other forks keep theirs."""
        assert self.settled <= length <= self.length
        surplus = self.length - length
        from_own = min(surplus, self._own_length)
        self._own_length -= from_own
        surplus -= from_own
        parts = list(self._prefix)
        while surplus > 0:
            last = parts.pop()
            assert isinstance(last, Part)  # what is coded lies before the last border
            kept = max(last.length - surplus, 0)
            surplus -= last.length - kept
            if kept:
                parts.append(Part(last.buffer, kept))
        self._prefix = tuple(parts)

    @torch.inference_mode()
    def keep(self, n: int, path: Sequence[int]) -> None:
        """Of the n newest tokens keep those at the rising places `path`, and close the gaps.

        They were written since the last fork, so no other row sees them move.
        """
        assert len(path) <= n <= self._own_length
        start = self._own_length - n
        still = next((i for i, place in enumerate(path) if place != i), len(path))
        if still < len(path):
            moved = self._own[:, [start + place for place in path[still:]]]
            self._own[:, start + still : start + len(path)] = moved
            for kept in (self.queries, self.residuals):
                if kept:
                    kept.keep(self.length, n, path)
        self._own_length = start + len(path)

    def fork(self, *, capacity: int = 64) -> RowCache:
        """Return a second cache of the same tokens; what both hold is stored once.

        What this row held becomes a shared, never again written part of both rows.
        """
        self.move_out()
        if self._own_length:
            self._prefix = (*self._prefix, Part(self._own, self._own_length))
            self._own = self._empty(capacity)
            self._own_length = 0
        twin = self._twin(capacity)
        twin._prefix = self._prefix
        twin._gone, twin._bias, twin.states = self._gone, self._bias, self.states
        twin.borders, twin.settled = self.borders, self.settled
        twin.queries = self.queries.fork() if self.queries else None
        twin.residuals = self.residuals.fork() if self.residuals else None
        twin.rebuild, twin.rebuilt = self.rebuild, self.rebuilt
        return twin

    def bias(self, slot: int, n: int, ahead: int = 0) -> torch.Tensor | None:
        """Return what is added to the scores of a slot's entries and n written ones behind them.

        Float32 [kv_heads, T + n]; None where every entry stands for its own token alone.
        """
        return None if self._bias is None else self._bias[slot, :, : self.entries + ahead + n]

    @property
    def coded(self) -> CodedPart | None:
        """The tokens that are held in another form, the first ones."""
        first = self._prefix[0] if self._prefix else None
        return first if isinstance(first, CodedPart) else None

    def plain(self, slot: int) -> torch.Tensor:
        """Return a slot's tokens behind those, [n, 2, kv_heads, head_size]."""
        parts = [part.read(slot) for part in self._prefix if isinstance(part, Part)]
        return torch.cat([*parts, self._own[slot, : self._own_length]])

    @torch.inference_mode()
    def replace(
        self,
        held: Sequence[torch.Tensor],
        bias: torch.Tensor | None,
        room: int,
        *,
        coded: CodedPart | None = None,
        rebuilt: int = 0,
    ) -> None:
        """Hold other entries from now on: nothing of what was held can be taken back.

        Args:
            held: a slot each, [entries, 2, kv_heads, head_size].
            bias: what is added to their scores, [slots, kv_heads, entries]; None = nothing.
            room: tokens up to the next border.
            coded: what is held before them in another form.
            rebuilt: first tokens that are rebuilt when they are read.
        """
        tokens, kept = self.length, held[0].shape[0] if held else 0
        self._prefix, self._own = (coded,) if coded else (), self._empty(kept + room)
        for slot, entries in enumerate(held):
            self._own[slot, :kept] = entries
        if bias is not None:
            bias = torch.nn.functional.pad(bias, (0, room))
        self._bias, self._own_length, self.rebuilt = bias, kept, rebuilt
        self._gone = tokens - self.entries

    @torch.inference_mode()
    def copied(self, *, room: int) -> RowCache:
        """Return a second cache of the same tokens in one buffer of its own, with room for more.

        For passes that would bring a shared part (`fork`) and the row's own together each time.
        No cache decision may be at work on it.
        """
        assert self.borders is None
        twin = self._twin(self.length + max(room, 1))
        twin._own_length = self._write_into(twin._own)
        return twin

    def _write_into(self, buffer: torch.Tensor) -> int:
        """Write all tokens to a buffer's beginning; return their number."""
        start = 0
        for part in (*self._prefix, Part(self._own, self._own_length)):
            end = start + part.length
            assert isinstance(part, Part)
            buffer[:, start:end] = part.buffer[:, : part.length]
            start = end
        return start

    def _twin(self, capacity: int) -> RowCache:
        return RowCache(
            self._shape, self._slots, capacity=capacity, dtype=self._dtype, device=self._device
        )

    def _empty(self, capacity: int) -> torch.Tensor:
        shape = self._shape
        size = (self._slots, capacity, 2, shape.kv_heads, shape.head_size)
        each = self._slots * 2 * shape.kv_heads * shape.head_size * self._dtype.itemsize
        with memory_told(lambda: row_told(capacity, each)):
            return torch.empty(size, dtype=self._dtype, device=self._device)


def _state_bytes(state: object) -> int:
    """Return the bytes of the arrays in what a decision knows of a slot."""
    if isinstance(state, np.ndarray):
        return state.nbytes
    return sum(map(_state_bytes, state)) if isinstance(state, (tuple, list)) else 0
