"""The fewest samples, and the best division of a budget, knowing how every sample ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def majority(answers: Sequence[str | None]) -> str | None:
    """Return the answer of most votes, the earliest on a tie; None when none gave any."""
    votes: dict[str, int] = {}
    for answer in answers:
        if answer is not None:
            votes[answer] = votes.get(answer, 0) + 1
    return max(votes, key=votes.__getitem__, default=None)


def fewest_samples(answers: Sequence[str | None]) -> int:
    """Return how many first samples have the majority of all of them."""
    whole = majority(answers)
    return next(n for n in range(1, len(answers) + 1) if majority(answers[:n]) == whole)


def best_split(costs: Sequence[float], budget: float) -> int:
    """Return the most questions that any division of a budget solves.

    Args:
        costs: what the first right answer took, of each question that has one.
        budget: in the same unit.
    """
    return int((np.cumsum(sorted(costs)) <= budget).sum())
