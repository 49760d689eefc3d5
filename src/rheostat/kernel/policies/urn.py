"""`Urn`: stop when an urn predicts that the leader will hardly lose the first place until N.

The N - n samples that are left are predicted as draws from a Pólya urn: an answer of x votes comes
next with probability proportional to x + `each`, an answer nobody gave yet with `unseen`, silence
with its own number. That is the posterior predictive law of a Dirichlet prior: an assumption about
the shares of answers, not a bound for all of them, and it is not corrected for looking after every
sample. The chance is exact under it, ties (to the earliest answer) and all rivals included; answers
that are still to come count as one rival. Looking ahead to the majority of N instead of the shares
themselves, and the two weights, are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.kernel.policies.drawing import Verdict
from rheostat.kernel.policies.votes import Vote, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.policies.votes import Seen
    from rheostat.kernel.samples import SampleStart

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Balls:
    """What the urn holds besides the votes that were cast."""

    each: float
    """Added to the votes of every answer that was given, at least 0."""
    unseen: float
    """For answers that nobody gave yet, at least 0."""


@dataclass(frozen=True, kw_only=True)
class Urn:
    """The rule of `Drawing` that stops at a predicted chance."""

    allowed: float
    """Chance of another majority for all N samples, in [0, 1]: a share of it for the samples that
    are left. 0 draws all of them."""
    balls: Balls

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Stop, or count how many votes for the leader it takes at least before it could."""
        votes, left = ranked(seen), start.samples - len(seen)
        counts = tuple(vote.votes for vote in sorted(votes, key=lambda vote: vote.first))
        silent = len(seen) - sum(counts)
        if left == 0 or (votes and self._holds(counts, silent, left)):
            chance = majority_chance(counts, silent, left, self.balls) if votes else None
            return Verdict(
                vote=votes[0] if votes else None,
                settled=True,
                confidence=chance,
                reason="settled" if left else "samples",
            )
        return self._soonest(counts, silent, left)

    def _holds(self, counts: tuple[int, ...], silent: int, left: int) -> bool:
        if self.allowed <= 0:
            return False
        error = 1.0 - majority_chance(counts, silent, left, self.balls)
        return error <= self.allowed * left / (sum(counts) + silent + left)

    def _soonest(self, counts: tuple[int, ...], silent: int, left: int) -> int:
        """Return how many samples in a row for the leader would do; never more than are left."""
        leader = counts.index(max(counts)) if counts else 0
        others = counts or (0,)
        for more in range(1, left if self.allowed > 0 else 1):
            after = (*others[:leader], others[leader] + more, *others[leader + 1 :])
            if self._holds(after, silent, left - more):
                return more
        return left

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the majority."""
        return next(iter(ranked(seen)), None)


@lru_cache(maxsize=1 << 16)
def majority_chance(counts: tuple[int, ...], silent: int, left: int, balls: Balls) -> float:
    """Return the predicted chance that the leader has most votes at the end, in [0, 1].

    Args:
        counts: votes of the answers in the order in which they first came, at least one.
        silent: samples without an answer.
        left: samples that are still to come.
        balls: what the urn holds besides.
    """
    leader = counts.index(max(counts))
    own = gains(counts[leader] + balls.each, left)
    rivals = [(x, x + balls.each, i < leader) for i, x in enumerate(counts) if i != leader]
    rivals.append((0, balls.unseen, False))
    free = [gains(float(silent), left)]  # what nobody is overtaken by
    near: list[tuple[int, Floats, bool]] = []
    for votes, weight, earlier in rivals:
        grown = gains(weight, left)
        if votes + left + earlier <= counts[leader]:
            free.append(grown)
        else:
            near.append((votes, grown, earlier))
    base = _product(free, left)
    chance = 0.0
    for more in range(left + 1):
        final, rest = counts[leader] + more, left - more
        kept = [grown[: max(0, final - votes - earlier + 1)] for votes, grown, earlier in near]
        if all(map(len, kept)):
            chance += own[more] * _product([base, *kept], rest)[rest]
    total = sum(counts) + len(counts) * balls.each + balls.unseen + silent
    return float(min(1.0, chance / gains(total, left)[left]))


@lru_cache(maxsize=1 << 12)
def gains(weight: float, left: int) -> Floats:
    """Return the weights of 0, 1, … further draws of a colour, [left + 1]: its rising factorials
    over j!, whose products the urn's law is made of.
    """
    steps = np.arange(left, dtype=float)
    return np.concatenate([np.ones(1), np.cumprod((weight + steps) / (steps + 1))])


def _product(series: Sequence[Floats], degree: int) -> Floats:
    """Return the product of power series up to a degree, [degree + 1]."""
    found: Any = np.ones(1)
    for factor in series:
        found = np.convolve(found, factor[: degree + 1])[: degree + 1]
    return np.pad(found, (0, degree + 1 - len(found)))
