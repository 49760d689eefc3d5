"""Exact bounds of a mean of 0/1 losses (Clopper & Pearson, Biometrika 26, 1934)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def binomial_p_value(failures: ArrayLike, items: int, limit: float) -> Floats:
    """Return P(Binomial(items, limit) <= failures): evidence against a mean of `limit` or more."""
    from scipy.special import bdtr

    count = np.asarray(failures, dtype=np.float64)
    return np.asarray(np.where(count >= items, 1.0, bdtr(count, items, limit)), dtype=np.float64)


def binomial_upper(failures: int, items: int, alpha: float) -> float:
    """Return the least mean that is refuted from above at level alpha; 1 when all fail."""
    from scipy.special import betaincinv

    if failures >= items:
        return 1.0
    return float(betaincinv(failures + 1, items - failures, 1 - alpha))


def binomial_lower(failures: int, items: int, alpha: float) -> float:
    """Return the lower bound at level alpha; 0 when none fails."""
    return 1.0 - binomial_upper(items - failures, items, alpha)
