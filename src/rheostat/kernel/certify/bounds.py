"""The bounds by name, over losses in [0, 1]: a p-value for testing, an upper bound for reporting.

`binomial` is for losses that are 0 or 1; other losses count as 1 unless they are 0, which keeps
the bound valid and makes it loose. `hoeffding_bentkus` needs the mean alone; `betting` adapts to
the variance and is the tightest for losses that are mostly small.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.certify.betting import betting_p_value, betting_upper
from rheostat.kernel.certify.binomial import binomial_p_value, binomial_upper
from rheostat.kernel.certify.hoeffding_bentkus import (
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A test of "the true mean is over a limit", and the upper bound that inverts it."""

    name: str
    source: str
    """The paper."""
    p_value: Callable[[Floats, float, float], Floats]
    """(losses [..., n], limit, alpha) -> [...]."""
    upper: Callable[[Floats, float], float]
    """(losses [n], alpha) -> the upper bound at level alpha."""


def _failures(losses: Floats) -> Floats:
    return np.asarray(np.count_nonzero(losses > 0.0, axis=-1), dtype=np.float64)


BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        bound.name: bound
        for bound in (
            Bound(
                name="binomial",
                source="Clopper & Pearson 1934",
                p_value=lambda x, limit, _: binomial_p_value(_failures(x), x.shape[-1], limit),
                upper=lambda x, alpha: binomial_upper(int(_failures(x)), len(x), alpha),
            ),
            Bound(
                name="hoeffding_bentkus",
                source="arXiv 2101.02703",
                p_value=lambda x, limit, _: hoeffding_bentkus_p_value(
                    x.mean(axis=-1), x.shape[-1], limit
                ),
                upper=lambda x, alpha: hoeffding_bentkus_upper(float(x.mean()), len(x), alpha),
            ),
            Bound(
                name="betting",
                source="arXiv 2010.09686",
                p_value=betting_p_value,
                upper=betting_upper,
            ),
        )
    }
)
