"""When a draft that takes forward passes has enough tokens, from what an acceptance head foresees.

SpecDec++ (arXiv 2405.19715): after each drawn token, stop when the probability that at least one
token is refused passes a threshold: 1 - a(1) a(2) ... > h. The newest token has no score yet.

Ours: `LookAhead` asks the measured costs instead of a constant. With P(k) the product of the first
k acceptances, a step with k drafts writes 1 + P(1) + ... + P(k) tokens in c(k) seconds; drafting
goes on while some longer draft is expected to write more tokens a second than the one at hand. All
longer ones are compared, not the next one alone, because c is not convex. A token without a score
is expected to fare as the last one with a score: easy places lie together. So two tokens are always
drawn.

Neither rule looks at the value of the newest token, and both keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is known after a token was drawn."""

    drafted: int
    """Tokens drawn, at least one."""
    most: int
    """Tokens that may be drawn."""
    scores: Sequence[float]
    """Outputs of the head for the drawn tokens that were read: one less than drawn."""
    seconds: Sequence[float]
    """Entry k: seconds of a step with k drafts, k = 0..most at least."""


class StopRule(Protocol):
    """Says after each token of a draft whether another one is drawn."""

    def goes_on(self, outlook: Outlook) -> bool:
        """Return whether another token is drawn."""


@final
@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The paper's rule: a constant bound on the probability of a refusal."""

    threshold: float
    """In [0, 1]: 0 stops as soon as it may, 1 never."""
    least: int = 2
    """Tokens that are always drawn."""

    def goes_on(self, outlook: Outlook) -> bool:
        """Return whether all tokens read so far are likely enough to be accepted."""
        if outlook.drafted < self.least:
            return True
        kept = 1.0
        for score in outlook.scores:
            kept *= score
        return 1.0 - kept <= self.threshold


@final
@dataclass(frozen=True, kw_only=True)
class LookAhead:
    """Draw another token while a longer draft promises more tokens a second."""

    weight: float = 1.0
    """Weight of refusals over acceptances when the head was trained: its outputs are corrected."""

    def goes_on(self, outlook: Outlook) -> bool:
        """Compare the draft at hand with every longer one."""
        if not outlook.scores:
            return True
        chances = [corrected(score, self.weight) for score in outlook.scores]
        unread = [chances[-1]] * (outlook.most - len(chances))
        written = list(accumulate(accumulate((1.0, *chances, *unread), mul)))
        rates = [tokens / outlook.seconds[k] for k, tokens in enumerate(written)]
        return any(rate > rates[outlook.drafted] for rate in rates[outlook.drafted + 1 :])


def corrected(score: float, weight: float) -> float:
    """Return the probability a of acceptance from the output a / (a + weight (1 - a)).

    That output minimises a cross-entropy that weighs refusals `weight` times.
    """
    return weight * score / (1.0 + (weight - 1.0) * score)
