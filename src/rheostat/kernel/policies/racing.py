"""Racing: settings are measured on ever more items, and leave once they cannot win (ours).

After Hoeffding races (Maron and Moore 1994), with betting sequences (arXiv 2010.09686) for bounds:
they hold at every look together, so a setting may be looked at after each round. Every judgement
has the level `alpha` to itself: what is judged of a setting does not depend on how many others
run, so one that is useless changes nothing for them.

Losses are in [0, 1], those of two settings of the same items in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.kernel.certify.betting import refuted_after

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL = 0.01
"""Chance that a setting leaves wrongly, for each reason to leave."""


def rounds(items: int, first: int) -> list[int]:
    """Return how many items are measured after each round: doubling from the first to all."""
    ends = []
    while first < items:
        ends.append(first)
        first *= 2
    return [*ends, items]


def surely_over(losses: Floats, limit: float, alpha: float = LEVEL) -> bool:
    """Return whether the true mean of losses [n] is over a limit."""
    if limit <= 0:
        return bool((losses > 0).any())
    return limit < 1 and bool(refuted_after(losses, limit, alpha))


def surely_worse(own: Floats, other: Floats, alpha: float = LEVEL) -> bool:
    """Return whether own true mean is over another's, item by item, as far as both are known."""
    known = min(len(own), len(other))
    return surely_over((1.0 + own[:known] - other[:known]) / 2.0, 0.5, alpha)
