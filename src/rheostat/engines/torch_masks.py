"""What each new token of a row attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rheostat.engines.torch_tree import places_of, tree_mask

if TYPE_CHECKING:
    from collections.abc import Sequence


def mask_of(
    parents: Sequence[int] | None, n: int, *, held: int, window: int, dtype: torch.dtype
) -> torch.Tensor | None:
    """Return the additive mask [n, held + n]; None where a single token sees everything.

    Args:
        parents: for each new token the one that it hangs on; None = they are a chain.
        n: new tokens.
        held: tokens before them.
        window: how many positions back a token sees, itself included; 0 = all.
    """
    mask = _causal(n, held, dtype) if parents is None else tree_mask(parents, held, dtype)
    if not window or held + n <= window:
        return mask
    places = torch.tensor([held + place for place in places_of(parents, n)])
    keys = torch.cat([torch.arange(held), places])
    far = keys[None] <= places[:, None] - window
    mask = torch.zeros(n, held + n, dtype=dtype) if mask is None else mask
    return mask.masked_fill(far, float("-inf"))


def _causal(n: int, held: int, dtype: torch.dtype) -> torch.Tensor | None:
    if n == 1:
        return None
    future = torch.full((n, n), float("-inf"), dtype=dtype).triu_(1)
    return torch.cat([torch.zeros(n, held, dtype=dtype), future], dim=1)
