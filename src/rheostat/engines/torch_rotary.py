"""Rotary position embedding, as a product with complex numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from rheostat.engines.architecture import Rope


def rotations(context: int, rope: Rope) -> torch.Tensor:
    """Return scale * e^(i * position * frequency), [context, pairs], complex64."""
    frequencies = torch.tensor(rope.frequencies, dtype=torch.float32)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), frequencies)
    return torch.polar(torch.full_like(angles, rope.scale), angles)


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
