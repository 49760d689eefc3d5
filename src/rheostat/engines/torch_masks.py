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
    """Return the additive mask [n, held + n - first]; None where a token sees all of that.

    `first` is what `first_seen` gives.

    Args:
        parents: for each new token the one that it hangs on; None = they are a chain.
        n: new tokens.
        held: tokens before them.
        window: how many positions back a token sees, itself included; 0 = all.
    """
    first = first_seen(held, window)
    before = held - first
    mask = _causal(n, before, dtype) if parents is None else tree_mask(parents, before, dtype)
    if mask is None or not window or held + n <= window:
        return mask
    places = torch.tensor([held + place for place in places_of(parents, n)])
    keys = torch.cat([torch.arange(first, held), places])
    far = keys[None] <= places[:, None] - window
    return mask.masked_fill(far, float("-inf"))


def first_seen(held: int, window: int) -> int:
    """Return the first of `held` tokens that the next one sees; those behind it see no earlier one.

    Args:
        window: how many positions back a token sees, itself included; 0 = all.
    """
    return max(held + 1 - window, 0) if window else 0


def _causal(n: int, held: int, dtype: torch.dtype) -> torch.Tensor | None:
    if n == 1:
        return None
    future = torch.full((n, n), float("-inf"), dtype=dtype).triu_(1)
    return torch.cat([torch.zeros(n, held, dtype=dtype), future], dim=1)
