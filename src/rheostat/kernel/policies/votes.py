"""Votes of samples: classes of equal answers, ties broken by the earliest launch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rheostat.kernel.samples import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.samples import Lost


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A sample as a rule sees it."""

    outcome: Ended | Lost
    value: float | None = None
    """What was asked about it: a score, or the probability of a probe's first choice."""

    @property
    def answer(self) -> str | None:
        """Its class of answers; None when it gave none or was lost."""
        return self.outcome.answer if isinstance(self.outcome, Ended) else None

    @property
    def verified(self) -> bool:
        """Whether it passed the verifier."""
        return isinstance(self.outcome, Ended) and self.outcome.verified is True


class Vote(NamedTuple):
    """What speaks for an answer."""

    answer: str
    first: int
    """The earliest sample that gave it."""
    votes: int
    weight: float


def ranked(seen: Sequence[Seen], weights: Sequence[float] | None = None) -> list[Vote]:
    """Return the answers, the best first: by weight, then by the earliest launch.

    Args:
        seen: samples in launch order.
        weights: one a sample, at least 0; None = each counts 1.
    """
    votes: dict[str, Vote] = {}
    for i, sample in enumerate(seen):
        if sample.answer is None:
            continue
        before = votes.get(sample.answer, Vote(sample.answer, i, 0, 0.0))
        weight = before.weight + (1.0 if weights is None else weights[i])
        votes[sample.answer] = before._replace(votes=before.votes + 1, weight=weight)
    return sorted(votes.values(), key=lambda vote: (-vote.weight, vote.first))


def tally(seen: Sequence[Seen]) -> tuple[int, ...]:
    """Return the counts of all answers in descending order."""
    return tuple(vote.votes for vote in ranked(seen))


def leads(seen: Sequence[Seen]) -> tuple[int, int]:
    """Return the counts of the leader and of its nearest rival, 0 where there is none."""
    first, second, *_ = (*tally(seen), 0, 0)
    return first, second
