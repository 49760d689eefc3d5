"""The threshold that a given share of several measured samples exceeds, from their quantiles.

Each sample is known by its quantiles at even levels from 0 to 1 and counts the same; between two
levels its law is linear. The pooled law, F(x) = mean of the samples' F_i(x), has no closed
inverse, so the threshold is found by halving.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALVINGS = 50  # enough to reach the resolution of a float64 within [-1, 1]


def threshold(quantiles: Sequence[Sequence[float]], share: float) -> float:
    """Return the value that a share of the pooled samples exceeds; infinity for no share.

    Args:
        quantiles: [samples][levels], rising and finite; the samples may differ in levels.
        share: in [0, 1].
    """
    if share <= 0.0:
        return math.inf
    laws = [(np.asarray(row, np.float64), np.linspace(0.0, 1.0, len(row))) for row in quantiles]
    low = min(float(row[0]) for row, _ in laws)
    high = max(float(row[-1]) for row, _ in laws)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        over = 1.0 - np.mean([np.interp(middle, row, levels) for row, levels in laws])
        low, high = (middle, high) if over > share else (low, middle)
    return high
