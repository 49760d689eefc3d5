"""How many items a certificate takes: the least that could do, and what seen losses ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rheostat.kernel.certify.bounds import Bound

    Floats = NDArray[np.float64]

MOST = 100_000
TRIALS = 200
SURE = 0.9
"""Share of the samples of a size that must be certified for the size to be called enough."""


def least_items(bound: Bound, limit: float, alpha: float, *, loss: float = 0.0) -> int | None:
    """Return the fewest items that certify a limit when each loses `loss`; None = over 100,000."""
    if loss >= limit:
        return None

    def enough(n: int) -> bool:
        return float(bound.p_value(np.full(n, loss), limit, alpha)) <= alpha

    high = 1
    while not enough(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def needed_items(  # noqa: PLR0913  # what is held against what, by which bound
    bound: Bound,
    losses: Floats,
    limit: float,
    alpha: float,
    *,
    level: float | None = None,
    seed: int = 0,
) -> int | None:
    """Return about how many items would certify losses like these nine times in ten.

    The p-value is made for alpha and held against `level`, where one is given. Samples of growing
    size are drawn from `losses` [n] with replacement: an estimate, to say how
    much more data to bring, and never a part of a claim. None = their mean is at the limit or
    over it, or it would take over 100,000.
    """
    if losses.mean() >= limit:
        return None
    draw, n = np.random.default_rng(seed), least_items(bound, limit, alpha)
    while n is not None and n <= MOST:
        passed = sum(
            float(bound.p_value(draw.choice(losses, n), limit, alpha)) <= (level or alpha)
            for _ in range(TRIALS)
        )
        if passed >= SURE * TRIALS:
            return n
        n = int(1.25 * n) + 1
    return None
