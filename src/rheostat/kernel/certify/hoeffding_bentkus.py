"""Hoeffding-Bentkus bounds of a mean of losses in [0, 1] from their number and their mean alone.

The p-value is the smaller of Hoeffding's, exp(-n KL(mean | limit)), and Bentkus', e times a
binomial tail (Bates et al., arXiv 2101.02703; used for testing in arXiv 2110.01052).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.certify.binomial import binomial_p_value
from rheostat.kernel.certify.inversion import least_refuted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

ROUNDING = 1e-9
"""A sum this little over an integer is that integer."""


def hoeffding_bentkus_p_value(mean: ArrayLike, items: int, limit: float) -> Floats:
    """Return evidence against a true mean of `limit` or more, from sample means of n items."""
    from scipy.special import xlogy

    seen = np.asarray(mean, dtype=np.float64)
    if limit <= 0.0:
        return np.ones_like(seen)
    low = np.minimum(seen, limit)
    if limit < 1.0:
        divergence = (
            xlogy(low, low / limit) + xlogy(1 - low, (1 - low) / (1 - limit))  # KL(low | limit)
        )
        hoeffding = np.exp(-items * divergence)
    else:
        hoeffding = np.where(seen < 1.0, 0.0, 1.0)
    failures = np.ceil(items * seen - ROUNDING)
    bentkus = math.e * binomial_p_value(failures, items, limit)
    return np.asarray(np.minimum(np.minimum(hoeffding, bentkus), 1.0), dtype=np.float64)


def hoeffding_bentkus_upper(mean: float, items: int, alpha: float) -> float:
    """Return the upper bound of the true mean at level alpha."""
    return least_refuted(
        lambda m: float(hoeffding_bentkus_p_value(mean, items, m)) <= alpha, above=mean
    )
