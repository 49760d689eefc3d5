"""Is a chosen setting on or above what one choice alone can reach at the same cost?

A frontier is what mixtures of settings reach: some questions are answered by one, the others by the
other, or not at all. Intervals are paired over questions; which settings a frontier stands on is
decided on the very questions that are shown, in favour of the frontier (ours).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.solve_rules import RESAMPLES, paired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rheostat.bench.reason_replay import Found

    Floats = NDArray[np.float64]


ROUNDING = 1e-12
"""Gains that are none but for the order of sums."""


def hull(settings: Sequence[Found], cost: str) -> list[Found]:
    """Return the settings that a frontier stands on, cheapest first: rising and ever flatter."""
    ordered = sorted(settings, key=lambda s: (s.costs[cost].mean(), -s.right.mean()))
    kept: list[Found] = []
    for new in ordered:
        if kept and new.right.mean() <= kept[-1].right.mean():
            continue
        while kept and _slope(kept[-2] if len(kept) > 1 else None, kept[-1], cost) <= _slope(
            kept[-1], new, cost
        ):
            kept.pop()
        kept.append(new)
    return kept


def _slope(low: Found | None, high: Found, cost: str) -> float:
    """Return the gain in accuracy for a unit of cost; of answering nothing both are 0."""
    below = (0.0, 0.0) if low is None else (low.costs[cost].mean(), low.right.mean())
    return float((high.right.mean() - below[1]) / (high.costs[cost].mean() - below[0]))


def reached_at(settings: Sequence[Found], cost: str, mean: float) -> Floats:
    """Return how right the frontier of settings is at a mean cost, [questions].

    Beyond its dearest setting it is flat.
    """
    stands = hull(settings, cost)
    nothing = np.zeros_like(stands[0].right)
    costs = [0.0, *(float(s.costs[cost].mean()) for s in stands)]
    rights = [nothing, *(s.right for s in stands)]
    above = min(int(np.searchsorted(costs, mean)), len(costs) - 1)
    if above == 0 or mean >= costs[-1]:
        return rights[above]
    share = (mean - costs[above - 1]) / (costs[above] - costs[above - 1])
    reached: Floats = rights[above - 1] + share * (rights[above] - rights[above - 1])
    return reached


def over(own: Found, settings: Sequence[Found], cost: str) -> dict[str, Any]:
    """Return a setting's gain in accuracy over a frontier at its own cost, and what that says."""
    gain = paired(own.right - reached_at(settings, cost, float(own.costs[cost].mean())), "right")
    low, high = gain["right_interval"]
    said = "above" if low > ROUNDING else "below" if high < -ROUNDING else "on"
    return {"gain": gain["right"], "interval": gain["right_interval"], "lies": said}


def beside(own: Found, base: Found) -> dict[str, Any]:
    """Return a setting's accuracy and costs against the base's, with paired intervals."""
    return {
        "accuracy_interval": _interval(len(own.right), lambda rows: own.right[rows].mean()),
        "accuracy_difference": float(own.right.mean() - base.right.mean()),
        "accuracy_difference_interval": paired(own.right - base.right, "right")["right_interval"],
        "ratios": {name: _ratio(own.costs[name], base.costs[name]) for name in own.costs},
    }


def _ratio(own: Floats, base: Floats) -> dict[str, Any]:
    def ratio(rows: Any) -> Any:
        return own[rows].sum() / base[rows].sum()

    return {"ratio": float(ratio(slice(None))), "interval": _interval(len(own), ratio)}


def _interval(questions: int, of: Callable[[Any], Any]) -> list[float]:
    drawn = np.random.default_rng(0).integers(0, questions, (RESAMPLES, questions))
    return [float(v) for v in np.quantile([of(rows) for rows in drawn], [0.025, 0.975])]


def cheapest(settings: Sequence[Found], base: Found, cost: str, *, loss: float) -> Found:
    """Return the cheapest setting whose mean accuracy is at most `loss` under the base's."""
    least = base.right.mean() - loss - 1e-12
    return min(
        (s for s in settings if s.right.mean() >= least), key=lambda s: float(s.costs[cost].mean())
    )
