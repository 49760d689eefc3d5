"""A rule that leaves where the model is certain, as in CALM (arXiv 2207.07061), and the oracle.

The threshold comes from one half of the texts, its figures from the other, both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.kernel.oracle.choices import cheapest, share_of_saving
from rheostat.kernel.oracle.tables import changed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.engines.torch_hindsight import Exits

    Floats = NDArray[np.float64]

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)


def confident_exits(
    seen: Sequence[Exits], prices: Sequence[float], head: float, limit: float
) -> dict[str, Any]:
    """Let tokens leave at the first exit that is certain enough.

    Args:
        seen: the exits of every text.
        prices: of a token that leaves behind each layer, its own head included, [layers].
        head: price of looking at one exit.
        limit: largest share of changed tokens.

    Returns:
        The mean share of changed tokens and price of one, with what the looks cost and as if they
        were free, and the shares of the oracle's saving.
    """
    losses, own, free, oracle = [], [], [], []
    for fit, judge in ((seen[::2], seen[1::2]), (seen[1::2], seen[::2])):
        threshold = _threshold(fit, prices, limit)
        for one in judge:
            left = _left(one, threshold)
            lost = changed(one.choices, one.choices[:, -1])
            losses.append(float(lost[np.arange(len(left)), left].mean()))
            free.append(float(np.take(prices, left).mean()))
            own.append(free[-1] + head * float(left.mean()))
            oracle.append(cheapest(lost, prices, limit).price)
    mean = {"loss": losses, "price": own, "price_if_free": free}
    found: dict[str, Any] = {name: float(np.mean(values)) for name, values in mean.items()}
    best = float(np.mean(oracle))
    return found | {
        "share": share_of_saving(prices[-1], found["price"], best),
        "share_if_free": share_of_saving(prices[-1], found["price_if_free"], best),
    }


def _threshold(seen: Sequence[Exits], prices: Sequence[float], limit: float) -> float:
    """Return the threshold of the least price that keeps the limit; over 1 = never leave."""
    best, least = 2.0, prices[-1]
    for threshold in THRESHOLDS:
        losses, costs = [], []
        for one in seen:
            left = _left(one, threshold)
            rows = np.arange(len(left))
            losses.append(changed(one.choices, one.choices[:, -1])[rows, left])
            costs.append(np.take(prices, left))
        if np.concatenate(losses).mean() <= limit and np.concatenate(costs).mean() < least:
            best, least = threshold, float(np.concatenate(costs).mean())
    return best


def _left(one: Exits, threshold: float) -> NDArray[np.int64]:
    """Return the exit that each token leaves at, [tokens]."""
    certain = one.certainty >= threshold
    certain[:, -1] = True
    return np.asarray(certain.argmax(axis=1))
