"""Losses in a declared range: refused when they are not, and scaled to [0, 1] for the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rheostat.errors import PlanError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """Where a loss lies, whatever the item: declared before any is seen."""

    low: float
    high: float

    def checked(self, losses: ArrayLike) -> Floats:
        """Return losses of any shape as an array.

        Raises:
            PlanError: there is none, or one is not a number or outside the range.
        """
        values = np.asarray(losses, dtype=np.float64)
        if not values.size:
            raise PlanError("there is no loss to bound", hint="give at least one item")
        wrong = ~((values >= self.low) & (values <= self.high))
        if wrong.any():
            first = float(values[wrong][0])
            raise PlanError(
                f"a loss of {first:g} is outside its range, {self.low:g} to {self.high:g}",
                hint="a bound holds for losses in the range that was declared for them; "
                "mend the verifier or the metric that gave this one",
            )
        return values

    def to_unit(self, losses: ArrayLike) -> Floats:
        """Return checked losses scaled to [0, 1]."""
        return (self.checked(losses) - self.low) / (self.high - self.low)

    def limit_to_unit(self, limit: float) -> float:
        """Return a limit on the same scale, cut off at 0 and 1."""
        return min(max((limit - self.low) / (self.high - self.low), 0.0), 1.0)

    def from_unit(self, value: float) -> float:
        """Return a bound on the scale of the losses."""
        return self.low + value * (self.high - self.low)
