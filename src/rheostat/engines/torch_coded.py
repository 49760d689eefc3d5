"""Tokens of a row that are held in another form than keys and values in the cache's format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.kv_cache import Coder


@final
@dataclass(frozen=True)
class CodedPart:
    """The first tokens of a row, coded; never changed in place, so that forks share it."""

    coder: Coder
    dtype: torch.dtype
    length: int
    parts: tuple[tuple[NDArray[np.generic], ...], ...]
    """A slot each: what the coder gave, tokens along the first axis."""
    states: tuple[object, ...]

    @property
    def bytes(self) -> int:
        """Bytes of what is held."""
        return sum(array.nbytes for slot in self.parts for array in slot)

    def read(self, slot: int) -> torch.Tensor:
        """Return a slot's tokens decoded, [length, 2, kv_heads, head_size]."""
        keys, values = self.coder.decode(self.parts[slot], self.states[slot])
        return torch.from_numpy(np.stack([keys, values])).permute(2, 0, 1, 3).to(self.dtype)

    def extended(self, slots: Sequence[torch.Tensor]) -> CodedPart:
        """Return the part with more tokens behind it, a slot each [n, 2, kv_heads, head_size]."""
        coded = []
        for tokens, state in zip(slots, self.states, strict=True):
            keys, values = tokens.float().permute(1, 2, 0, 3).contiguous().numpy()
            coded.append(self.coder.encode(keys, values, state))
        joined = tuple(
            tuple(np.concatenate(pair) for pair in zip(old, new.parts, strict=True))
            if old
            else tuple(new.parts)
            for old, new in zip(self.parts, coded, strict=True)
        )
        more = len(slots[0]) if slots else 0
        states = tuple(new.state for new in coded)
        return CodedPart(self.coder, self.dtype, self.length + more, joined, states)


def nothing_coded(coder: Coder, slots: int, dtype: torch.dtype) -> CodedPart:
    """Return the part of a row of which no token is coded."""
    return CodedPart(coder, dtype, 0, ((),) * slots, (None,) * slots)
