"""How far guesses hold, learnt while they are used.

A mean acceptance a token says too little: copies either break at once or hold for long, and a
long draft lives on the long ones. What is kept here is the survival curve itself: for each k the
share of guesses whose first k tokens were all written (ours). It starts at a prior and moves by
1 / (prior weight + guesses seen), as the mean of a Beta prior does, until that weight falls to a
fixed rate; from then on it forgets, so a change of text is followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence


@final
@dataclass(kw_only=True)
class RunLengths:
    """The survival curve of one kind of guess."""

    survival: list[float]
    """Entry k - 1: share of guesses that held for at least k tokens; it never rises."""
    seen: float
    """Guesses that the curve counts as: those of the prior and those scored."""
    rate: float
    """Least weight of a guess, in (0, 1]."""

    @staticmethod
    def prior(
        first: float, further: float, *, longest: int, weight: float, rate: float
    ) -> RunLengths:
        """Start from acceptance `first` of the first token and `further` of each one after it."""
        curve = [first * further**k for k in range(longest)]
        return RunLengths(survival=curve, seen=weight, rate=rate)

    def score(self, held: int) -> None:
        """Take in a guess that held for so many tokens; the curve's length means: or for more."""
        self.seen += 1
        weight = max(self.rate, 1.0 / self.seen)
        curve = self.survival
        for k in range(len(curve)):
            curve[k] += ((1.0 if k < held else 0.0) - curve[k]) * weight


@final
@dataclass(kw_only=True)
class CopyGuess:
    """The guess that a text goes on as it did from `source`, followed until it is settled.

    It is compared with the tokens really written, whether they were drafted or not, and over as
    many steps as that takes.
    """

    source: int
    """Where the copied text starts."""
    at: int
    """Where it would be written."""
    held: int = 0
    """Tokens that were written as guessed."""

    def settled(self, text: Sequence[int], longest: int) -> bool:
        """Read on in the text; return whether the guess broke or reached its longest length."""
        most = min(longest, len(text) - self.at)
        held = self.held
        while held < most and text[self.source + held] == text[self.at + held]:
            held += 1
        self.held = held
        return held >= longest or self.at + held < len(text)
