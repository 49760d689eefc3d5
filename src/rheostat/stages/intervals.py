"""Bootstrap intervals over items: what a mean may be on other items of the same kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 2000
LEVEL = 0.95
FEW = 10
"""With fewer items a bootstrap is no 95 % interval: what it gives is rough, and too narrow."""


def mean_interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the mean over items."""
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(data), (RESAMPLES, len(data)))
    low, high = np.quantile(data[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def ratio_interval(
    above: Sequence[float], below: Sequence[float], *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of sum(above) / sum(below), items paired."""
    pairs = np.asarray([above, below], dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    sums = pairs[:, draws].sum(axis=2)
    low, high = np.quantile(sums[0] / sums[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean; infinite for a single item."""
    data = np.asarray(values, dtype=np.float64)
    return float(data.std(ddof=1) / np.sqrt(len(data))) if len(data) > 1 else float("inf")
