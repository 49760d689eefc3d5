"""How many samples a question gets, by its difficulty: a table fitted under a budget.

After Snell et al. (arXiv 2408.03314): for every difficulty the strategy with the best accuracy.
There difficulty comes from thousands of samples that nobody pays for; here it is what the first
few samples say, they are part of the answer, and every strategy is charged for them (ours).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Spent(NamedTuple):
    """What a way to spend comes to, over questions."""

    accuracy: float
    tokens: float
    """Mean of a question."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The strategy of every difficulty."""

    strategies: tuple[int, ...]
    """[difficulties]"""

    def of(self, difficulty: Ints, right: Floats, tokens: Floats) -> Spent:
        """Return what the table comes to on questions.

        Args:
            difficulty: of each question, [questions].
            right: whether a strategy's answer is right, [questions, strategies].
            tokens: what it takes, [questions, strategies].
        """
        rows, at = np.arange(len(difficulty)), np.array(self.strategies)[difficulty]
        return Spent(float(right[rows, at].mean()), float(tokens[rows, at].mean()))


def fitted_table(
    difficulty: Ints, right: Floats, tokens: Floats, *, difficulties: int, budget: float
) -> Table:
    """Return the most accurate table whose mean tokens keep a budget; the cheapest of equals.

    Where no table keeps it, the cheapest is returned.

    Args:
        difficulty: of each question, [questions], from 0 to `difficulties` - 1.
        right: whether a strategy's answer is right, [questions, strategies].
        tokens: what it takes, [questions, strategies].
        difficulties: how many there are.
        budget: mean tokens of a question.
    """
    groups = [difficulty == d for d in range(difficulties)]
    correct = np.array([right[group].sum(axis=0) for group in groups])
    spent = np.array([tokens[group].sum(axis=0) for group in groups])
    every = np.arange(difficulties)
    best: tuple[bool, float, float] | None = None
    chosen: Sequence[int] = ()
    for table in product(range(right.shape[1]), repeat=difficulties):
        cost = float(spent[every, table].sum())
        keeps = cost <= budget * len(difficulty) + 1e-9
        rank = (keeps, float(correct[every, table].sum()) if keeps else 0.0, -cost)
        if best is None or rank > best:
            best, chosen = rank, table
    return Table(strategies=tuple(chosen))


def agreement_of_first(answers: Sequence[str | None], probes: int) -> int:
    """Return a difficulty from 0 (all probes agree) to `probes` - 1: probes outside the majority.

    Probes without an answer agree with none.
    """
    given = [answer for answer in answers[:probes] if answer is not None]
    most = max((given.count(answer) for answer in set(given)), default=1)
    return probes - most
