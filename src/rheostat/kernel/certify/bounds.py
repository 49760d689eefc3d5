"""The bounds by name, over losses in [0, 1]: a p-value for testing, an upper bound for reporting.

`binomial` is for losses that are 0 or 1; other losses count as 1 unless they are 0, which keeps
the bound valid and makes it loose. `hoeffding_bentkus` needs the mean alone; `betting` adapts to
the variance and is the tightest for losses that are mostly small.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rheostat.kernel.certify.betting import betting_p_value, betting_upper
from rheostat.kernel.certify.binomial import binomial_p_value, binomial_upper
from rheostat.kernel.certify.hoeffding_bentkus import (
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class PValue(Protocol):
    """The evidence of losses [..., n] against a mean over a limit, [...]."""

    def __call__(
        self, losses: Floats, limit: float, alpha: float, /, *, items: int | None = None
    ) -> Floats:
        """Return it; with `items`, of the beginning of a sample of so many."""


class Upper(Protocol):
    """The upper bound that losses [n] give at a level."""

    def __call__(
        self,
        losses: Floats,
        alpha: float,
        /,
        *,
        items: int | None = None,
        level: float | None = None,
    ) -> float:
        """Return it; with `items`, from the beginning of a sample of so many.

        With `level`, at that level, by a p-value that is made for alpha and held against it.
        """


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A test of "the true mean is over a limit", and the upper bound that inverts it."""

    name: str
    source: str
    """The paper."""
    p_value: PValue
    upper: Upper
    early: bool = False
    """Whether the beginning of a sample may be judged before the rest of it is seen."""


def _failures(losses: Floats) -> Floats:
    return np.asarray(np.count_nonzero(losses > 0.0, axis=-1), dtype=np.float64)


def _whole(losses: Floats, items: int | None) -> int:
    size = int(losses.shape[-1])
    assert items in (None, size), "the bound needs the whole sample"
    return size


def _binomial(losses: Floats, limit: float, _: float, *, items: int | None = None) -> Floats:
    return binomial_p_value(_failures(losses), _whole(losses, items), limit)


def _binomial_upper(
    losses: Floats, alpha: float, *, items: int | None = None, level: float | None = None
) -> float:
    return binomial_upper(int(_failures(losses)), _whole(losses, items), level or alpha)


def _hoeffding_bentkus(
    losses: Floats, limit: float, _: float, *, items: int | None = None
) -> Floats:
    return hoeffding_bentkus_p_value(losses.mean(axis=-1), _whole(losses, items), limit)


def _hoeffding_bentkus_upper(
    losses: Floats, alpha: float, *, items: int | None = None, level: float | None = None
) -> float:
    size = _whole(losses, items)
    return hoeffding_bentkus_upper(float(losses.mean()), size, level or alpha)


BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        bound.name: bound
        for bound in (
            Bound(
                name="binomial",
                source="Clopper & Pearson 1934",
                p_value=_binomial,
                upper=_binomial_upper,
            ),
            Bound(
                name="hoeffding_bentkus",
                source="arXiv 2101.02703",
                p_value=_hoeffding_bentkus,
                upper=_hoeffding_bentkus_upper,
            ),
            Bound(
                name="betting",
                source="arXiv 2010.09686",
                p_value=betting_p_value,
                upper=betting_upper,
                early=True,
            ),
        )
    }
)
