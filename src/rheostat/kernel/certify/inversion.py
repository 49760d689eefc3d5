"""From tests to bounds: the least mean that a test refutes, by bisection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 40


def least_refuted(refutes: Callable[[float], bool], *, above: float) -> float:
    """Return the least m in (above, 1] with `refutes(m)`, rounded up; 1 when there is none.

    Args:
        refutes: whether "the true mean is at least m" is refuted; once true, true for larger m.
        above: where to start, such as the sample's mean, at which nothing is refuted.
    """
    low, high = above, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if refutes(middle):
            high = middle
        else:
            low = middle
    return high
