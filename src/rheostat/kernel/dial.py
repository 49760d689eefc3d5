"""A dial is a number in [0, 1]: 0 is the base, 1 the cheapest setting a method knows."""

from __future__ import annotations

import math

from rheostat.errors import MethodError


def checked_dial(value: float, *, method: str) -> float:
    """Return `value` as a float in [0, 1], or raise `MethodError`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 <= value <= 1.0:
        raise MethodError(
            f"the dial of `{method}` must be a number from 0 to 1, got `{value}`",
            hint="0 is the base and 1 the cheapest setting; use `off` to remove a method",
        )
    return float(value)


def steps(dial: float, most: int) -> int:
    """Map a dial to a whole number of steps in 0..most, rounding half up."""
    return math.floor(dial * most + 0.5)
