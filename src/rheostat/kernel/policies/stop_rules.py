"""Rules that stop on the counts of answers: heuristics, none of which keeps a promise.

Each is a function of the leader's count x, its nearest rival's count y (0 when there is none), the
n samples seen, and the N of the plan; one more for the leader never makes a rule go on. Answers
are the majority of what was seen. Dial 0 always draws all N.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rheostat.kernel.policies.drawing import Verdict
from rheostat.kernel.policies.votes import Vote, ranked, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.kernel.policies.votes import Seen
    from rheostat.kernel.samples import SampleStart


class Lead(NamedTuple):
    """What a counting rule sees of a prefix."""

    first: int
    """x: votes of the leader."""
    second: int
    """y: votes of its nearest rival."""
    seen: int
    """n: samples, those without an answer included."""
    samples: int
    """N: samples of the plan."""
    others: tuple[int, ...] = ()
    """Votes of the answers behind those two, in descending order, for rules that look at them."""

    @property
    def left(self) -> int:
        """N - n."""
        return self.samples - self.seen


class Enough(Protocol):
    """Whether a lead is enough, and what the rule believes then."""

    def holds(self, lead: Lead) -> bool:
        """Return whether to stop."""

    def confidence(self, lead: Lead) -> float | None:
        """Return what the rule believes, in [0, 1]; None = it has no such number."""


def lead_of(seen: Sequence[Seen], samples: int) -> Lead:
    """Return what a counting rule sees of samples in launch order, of N."""
    first, second, *others = (*tally(seen), 0, 0)
    return Lead(first, second, len(seen), samples, tuple(other for other in others if other))


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The rule of `Drawing` that stops when a lead is enough."""

    enough: Enough
    wait: Callable[[Lead], int] | None = None
    """How many samples it takes at least until it can stop, where votes for the leader are not the
    quickest way there."""

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Stop, or count how many votes for the leader it takes at least before it could."""
        lead = lead_of(seen, start.samples)
        over = lead.left == 0
        if over or (lead.first and self.enough.holds(lead)):
            return Verdict(
                vote=self.best(seen, start),
                settled=True,
                confidence=self.enough.confidence(lead) if lead.first else None,
                reason="samples" if over else "settled",
            )
        return self.wait(lead) if self.wait else soonest(self.enough, lead)

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the majority."""
        return next(iter(ranked(seen)), None)


def soonest(enough: Enough, lead: Lead) -> int:
    """Return how many samples it takes at least until the rule can stop, all for the leader."""

    def held(more: int) -> bool:
        return enough.holds(lead._replace(first=lead.first + more, seen=lead.seen + more))

    return 1 + bisect_left(range(1, lead.left), True, key=held)


@dataclass(frozen=True, kw_only=True)
class Overtaken:
    """Stop when x - y >= 1 + (1 - dial) (N - n): near dial 0 the rest cannot change the answer."""

    dial: float

    def holds(self, lead: Lead) -> bool:
        """Return whether the lead is larger than that share of what is left."""
        return self.dial > 0 and lead.first - lead.second >= 1 + (1 - self.dial) * lead.left

    def confidence(self, lead: Lead) -> float | None:
        """Return 1 when nothing can change the answer."""
        return 1.0 if lead.first - lead.second > lead.left else None


@dataclass(frozen=True, kw_only=True)
class LeadMargin:
    """Stop when x - y is at least a margin, N at dial 0 and smaller up to dial 1."""

    margin: int
    dial: float

    def holds(self, lead: Lead) -> bool:
        """Return whether the lead is that large."""
        widest = max(self.margin, lead.samples)
        margin = math.floor(widest + self.dial * (self.margin - widest) + 0.5)
        return lead.first - lead.second >= margin

    def confidence(self, lead: Lead) -> None:
        """Have no number."""


@dataclass(frozen=True, kw_only=True)
class BetaPosterior:
    """Stop when P(share > 1/2) >= threshold under Beta(x + 1, y + 1) of the two leaders.

    It assumes a uniform prior and no third answer, and it is looked at after every sample without
    a correction: its threshold is no error rate.
    """

    threshold: float

    def holds(self, lead: Lead) -> bool:
        """Return whether the posterior is that sure."""
        return self.threshold < 1 and self.confidence(lead) >= self.threshold

    def confidence(self, lead: Lead) -> float:
        """Return P(share of the leader > 1/2)."""
        return beta_majority(lead.first, lead.second)


def beta_majority(x: int, y: int) -> float:
    """Return P(share > 1/2) under Beta(x + 1, y + 1), which is P(Bin(x + y + 1, 1/2) <= x)."""
    return float(sum(math.comb(x + y + 1, k) for k in range(x + 1)) / 2 ** (x + y + 1))


@dataclass(frozen=True, kw_only=True)
class DirichletPosterior:
    """Stop when P(the nearest rival ends ahead of the leader) is small.

    The other samples are predicted under Dirichlet(x + 1, y + 1, n - x - y + 1) for the leader, its
    rival and the rest: it assumes that prior, and repeated looks are not corrected for.
    """

    chance: float

    def holds(self, lead: Lead) -> bool:
        """Return whether the predicted chance is that small."""
        return self.chance > 0 and overtaking(lead._replace(others=())) <= self.chance

    def confidence(self, lead: Lead) -> float:
        """Return the chance not to be overtaken."""
        return 1.0 - overtaking(lead._replace(others=()))


@lru_cache(maxsize=1 << 16)
def overtaking(lead: Lead) -> float:
    """Return the predictive probability that the rival ends with more votes than the leader."""
    a, b, left = lead.first + 1, lead.second + 1, lead.left
    rest = max(0, lead.seen - lead.first - lead.second) + 1
    total = a + b + rest
    chance = 0.0
    for i in range(left + 1):  # the leader gains i, the rival j
        for j in range(i + lead.first - lead.second + 1, left - i + 1):
            ways = _log_choose(a + i - 1, i) + _log_choose(b + j - 1, j)
            ways += _log_choose(rest + left - i - j - 1, left - i - j)
            chance += math.exp(ways - _log_choose(total + left - 1, left))
    return min(1.0, chance)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Stop when x / n >= 1 - dial, after at least `least` samples."""

    dial: float
    least: int

    def holds(self, lead: Lead) -> bool:
        """Return whether the leader has that share."""
        enough = lead.first >= (1 - self.dial) * lead.seen
        return self.dial > 0 and lead.seen >= self.least and enough

    def confidence(self, lead: Lead) -> None:
        """Have no number."""
