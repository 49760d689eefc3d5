"""How far guesses hold, learnt while they are used.

A mean acceptance a token says too little: copies either break at once or hold for long, and a
long draft lives on the long ones. What is kept here is the survival curve itself: for each k the
share of guesses whose first k tokens were all written (ours). It starts at a prior and moves by
1 / (prior weight + guesses seen), as the mean of a Beta prior does, down to a small weight. When
what is seen departs from the curve for a while (a two-sided cumulative sum, Page 1954), most of
the past is forgotten at once, so a change of text is followed within some guesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

_LEAST_WEIGHT = 0.02
"""Of a new guess, however many were seen."""
_SLACK = 0.3
"""Departure from the expected share of a full length that is put down to chance, a guess."""
_ALARM = 1.2
"""Sum of departures beyond the slack at which the past is forgotten."""
_KEPT = 1.0
"""Guesses that the curve counts as after that."""


@final
@dataclass(kw_only=True)
class RunLengths:
    """The survival curve of one kind of guess."""

    survival: list[float]
    """Entry k - 1: share of guesses that held for at least k tokens; it never rises."""
    seen: float
    """Guesses that the curve counts as: those of the prior and those scored."""
    shorter: float = 0.0
    """Cumulative departure towards guesses that break earlier,"""
    longer: float = 0.0
    """and towards guesses that hold for longer."""

    @staticmethod
    def prior(first: float, further: float, *, longest: int, weight: float) -> RunLengths:
        """Start from acceptance `first` of the first token and `further` of each one after it."""
        return RunLengths(survival=[first * further**k for k in range(longest)], seen=weight)

    def score(self, held: int, longest: int | None = None) -> None:
        """Take in a guess.

        Args:
            held: how many of its tokens were written.
            longest: how many it had; None = at least as many as the curve. Nothing is learnt of
                the places behind them.
        """
        curve = self.survival
        told = len(curve) if longest is None else min(longest, len(curve))
        surprise = (sum(curve[:told]) - min(held, told)) / max(told, 1)
        self.shorter = max(0.0, self.shorter + surprise - _SLACK)
        self.longer = max(0.0, self.longer - surprise - _SLACK)
        if max(self.shorter, self.longer) > _ALARM:
            self.seen = min(self.seen, _KEPT)
            self.shorter = self.longer = 0.0
        self.seen += 1
        weight = max(_LEAST_WEIGHT, 1.0 / self.seen)
        for k in range(told):
            curve[k] += ((1.0 if k < held else 0.0) - curve[k]) * weight
        for k in range(told, len(curve)):
            curve[k] = min(curve[k], curve[k - 1])
