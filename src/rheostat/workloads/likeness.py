"""A small judge: will two samples of a question come to the same answer, from their texts so far?

DeepPrune (arXiv:2510.08483) trains a judge on pairs of unfinished traces. Ours reads words and
runs no model: a logistic regression on what the two texts have in common, fitted on pairs of the
calibration recordings by `fit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Weights(NamedTuple):
    """Of the features, in nats of the odds."""

    base: float
    same_answer: float
    other_answer: float
    shared_words: float
    shared_start: float


WEIGHTS = Weights(-1.12, 0.91, -0.34, -0.19, -0.24)


@final
@dataclass(frozen=True)
class Likeness:
    """The judge of one set of tasks."""

    answer: Callable[[str], str | None]
    """How an answer is found in a text, whole or not; None = there is none yet."""
    weights: Weights = WEIGHTS

    def probability(self, one: str, other: str) -> float:
        """Return the probability that both will end in the same answer, in [0, 1]."""
        odds = math.fsum(
            w * x for w, x in zip(self.weights, self.features(one, other), strict=True)
        )
        return 1 / (1 + math.exp(-odds))

    def features(self, one: str, other: str) -> tuple[float, ...]:
        """Return what two texts have in common, in the order of `Weights`; the first is 1."""
        a, b = one.split(), other.split()
        first, second = self.answer(one), self.answer(other)
        known = first is not None and second is not None
        shortest, union = min(len(a), len(b)), set(a) | set(b)
        start = next((i for i in range(shortest) if a[i] != b[i]), shortest)
        return (
            1.0,
            float(known and first == second),
            float(known and first != second),
            len(set(a) & set(b)) / len(union) if union else 1.0,
            start / shortest if shortest else 0.0,
        )


def fit(judge: Likeness, pairs: Sequence[tuple[str, str, bool]]) -> Weights:
    """Return weights fitted on (text so far, text so far, whether the answers came out equal).

    A small penalty, half the squared weights over the number of pairs, keeps them finite.
    """
    import numpy as np
    from scipy.optimize import minimize

    x = np.array([judge.features(one, other) for one, other, _ in pairs])
    sign = np.array([1.0 if same else -1.0 for *_, same in pairs])

    def loss(weights: np.ndarray) -> float:
        margins = sign * (x @ weights)
        return float(np.logaddexp(0.0, -margins).mean() + 0.5 * (weights**2).sum() / len(pairs))

    found = minimize(loss, np.zeros(x.shape[1]))
    return Weights(*(round(float(w), 2) for w in found.x))
