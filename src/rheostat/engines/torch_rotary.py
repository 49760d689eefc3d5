"""Rotary position embedding, as a product with complex numbers."""

from __future__ import annotations

import torch


def rotations(context: int, head_size: int, theta: float) -> torch.Tensor:
    """Return e^(i * position * frequency), [context, head_size / 2], complex64."""
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32) / head_size
    angles = torch.outer(torch.arange(context, dtype=torch.float32), 1.0 / theta**exponents)
    return torch.polar(torch.ones_like(angles), angles)


def turn(part: torch.Tensor, turns: torch.Tensor, head_size: int) -> None:
    """Apply the rotary embedding in place to part [n, heads * head_size]."""
    n = part.shape[0]
    if part.dtype == torch.float32:
        pairs = part.view(n, -1, head_size // 2, 2)
        torch.view_as_complex(pairs).mul_(turns)
        return
    wide = part.float().view(n, -1, head_size // 2, 2)
    turned = torch.view_as_real(torch.view_as_complex(wide) * turns)
    part.copy_(turned.view(n, -1))
