"""`Mode`: name the most probable answer, or say that it is undecided; valid at any time.

For every distribution with one most probable answer m, P(another is ever declared) <= alpha,
however long it is drawn; where two share the first place, P(anything is declared) <= alpha.
Frequentist: no prior is assumed. N and the budget only end the drawing; then it is undecided.

Proof. Let a be the j-th distinct answer that appears, and count only draws after its first. Among
draws of a and m, a has a share of at most 1/2, so that

    E_j = 2 integral over t in (1/2, 1) of (2 t)^wins (2 (1 - t))^losses

is a non-negative supermartingale of start 1: for a share s <= 1/2 < t each factor has the mean
2 (s t + (1 - s)(1 - t)) <= 1. So is sum_j E_j / (j (j + 1)), of start 1: by Ville's inequality it
ever reaches 1/alpha with probability at most alpha. The rule declares a when E against its nearest
rival is at least j (j + 1) / alpha. E against m is at least as large (E falls with losses, and
losses of before a's first draw only lower it), so it declares wrongly only in that event. The
mixture is standard; weighting answers by the order of their appearance is ours.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.policies.drawing import Verdict
from rheostat.kernel.policies.votes import Vote, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.votes import Seen
    from rheostat.kernel.samples import SampleStart


@dataclass(frozen=True, kw_only=True)
class Mode:
    """The rule of `Drawing` that stops when the mode is certain enough."""

    alpha: float

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Declare the leader, or count how many more votes it takes at least."""
        left = start.samples - len(seen)
        votes = ranked(seen)
        needed = self._needed(votes, left)
        if needed == 0:
            return Verdict(vote=votes[0], settled=True, confidence=1 - self.alpha, reason="settled")
        if left == 0:
            vote = votes[0] if votes else None
            return Verdict(vote=vote, settled=False, confidence=None, reason="samples")
        return needed

    def _needed(self, votes: Sequence[Vote], left: int) -> int:
        """Return how many votes in a row would settle it, at most the samples that are left."""
        if self.alpha <= 0:
            return max(left, 1)
        count, first = (votes[0].votes, votes[0].first) if votes else (0, 0)
        rival = votes[1].votes if len(votes) > 1 else 0
        place = 1 + sum(vote.first < first for vote in votes)
        least = math.log(place * (place + 1) / self.alpha)

        def sure(more: int) -> bool:
            return count + more > 0 and log_evidence(count + more - 1, rival) >= least

        if sure(0):
            return 0
        return max(1, min(bisect_left(range(left + 1), True, key=sure), left))

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the majority."""
        return next(iter(ranked(seen)), None)


def log_evidence(wins: int, losses: int) -> float:
    """Return log E, the mixture over shares above 1/2 against the share 1/2."""
    tosses = wins + losses + 1
    above = sum(math.comb(tosses, k) for k in range(wins + 1))  # of 2^tosses
    beta = math.lgamma(wins + 1) + math.lgamma(losses + 1) - math.lgamma(tosses + 1)
    return beta + math.log(above)
