"""A share of hits that is learnt while it is used, from a prior.

The average moves by a weight of 1 / (prior weight + outcomes so far), as the mean of a Beta prior
does, until that falls to a fixed rate; from then on it forgets, so a change of text is followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def outcomes_of(guessed: Sequence[int], written: Sequence[int]) -> list[bool]:
    """Return which guesses were written, up to the first wrong one: later ones say nothing."""
    outcomes = []
    for guess, token in zip(guessed, written, strict=False):
        outcomes.append(guess == token)
        if guess != token:
            break
    return outcomes


def moved(average: float, outcomes: Sequence[bool], *, weight: int, rate: float) -> float:
    """Return the average after some outcomes, in their order.

    Args:
        average: before them; at the start the prior.
        outcomes: hits and misses.
        weight: how many outcomes the average counts as: those of the prior and those seen.
        rate: least weight of an outcome, in (0, 1].
    """
    for count, hit in enumerate(outcomes, start=weight + 1):
        average += (hit - average) * max(rate, 1.0 / count)
    return average
