"""Rotary position embedding, as a product with complex numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch

if TYPE_CHECKING:
    from rheostat.engines.architecture import Rope


BLOCK = 1024
"""Positions whose rotations are made at first; after them as many again each time."""


@final
class Rotations:
    """The rotations of one rope, made as far as positions were asked for."""

    def __init__(self, rope: Rope, context: int, device: torch.device) -> None:
        """Make none yet."""
        self._rope = rope
        self._context = context
        self._device = device
        self._held = torch.empty(0, len(rope.frequencies), dtype=torch.complex64, device=device)

    def up_to(self, count: int) -> torch.Tensor:
        """Return the rotations of the first places, at least so many: complex64 [n, pairs]."""
        while len(self._held) < count:
            start = len(self._held)
            stop = min(start + max(BLOCK, start), max(self._context, count))
            block = _rotations(start, stop, self._rope)
            self._held = torch.cat([self._held, block.to(self._device)])
        return self._held


def _rotations(start: int, stop: int, rope: Rope) -> torch.Tensor:
    """Return scale * e^(i * position * frequency), [stop - start, pairs], complex64."""
    places = torch.tensor(range(start, stop), dtype=torch.float32)
    angles = places[:, None] * torch.tensor(rope.frequencies, dtype=torch.float32)
    return torch.polar(torch.tensor(rope.scale, dtype=torch.float32), angles)


def turn(part: torch.Tensor, turns: torch.Tensor, head_size: int) -> None:
    """Apply the rotary embedding in place to part [n, heads * head_size].

    Args:
        turns: [n, 1, pairs]; the first 2 * pairs dimensions of every head are turned.
    """
    n, rotated = part.shape[0], 2 * turns.shape[-1]
    if part.dtype == torch.float32 and rotated == head_size:
        pairs = part.view(n, -1, head_size // 2, 2)
        torch.view_as_complex(pairs).mul_(turns)
        return
    heads = part.view(n, -1, head_size)[..., :rotated]
    wide = heads.float().reshape(n, -1, rotated // 2, 2)
    turned = torch.view_as_real(torch.view_as_complex(wide) * turns)
    heads.copy_(turned.view(n, -1, rotated))
