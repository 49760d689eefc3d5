"""New tokens of a row as a tree: which position each has and what it attends to.

A token of a draft that branches stands behind the tokens that it hangs on and nothing else: its
position is their number, and the mask hides every other branch. So one pass verifies all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rheostat.kernel.policies.token_tree import TokenTree, ancestry, depths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_cache import RowCache


def parents_in_feed(draft: Sequence[int]) -> tuple[int, ...] | None:
    """Return the parents of the newest token and the draft that hangs on it; None for a chain."""
    if not isinstance(draft, TokenTree):
        return None
    return (-1, *(parent + 1 for parent in draft.parents))


def places_of(parents: Sequence[int] | None, n: int) -> Sequence[int]:
    """Return how many of the n new tokens come before each one."""
    return range(n) if parents is None else depths(parents)


def tree_mask(parents: Sequence[int], held: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive mask [n, held + n]: everything held, and the token's own branch."""
    hidden = torch.from_numpy(~ancestry(parents))
    own = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
    return torch.cat([torch.zeros(len(parents), held, dtype=dtype), own], dim=1)


def keep_accepted(
    cache: RowCache, draft: Sequence[int], accepted: int, path: Sequence[int]
) -> None:
    """Forget the draft tokens that were refused, the newest in the cache.

    Args:
        accepted: how many were not.
        path: which ones, where the draft branches.
    """
    if isinstance(draft, TokenTree):
        cache.keep(len(draft), path)
    else:
        cache.truncate(cache.length - len(draft) + accepted)
