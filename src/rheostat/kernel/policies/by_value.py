"""Allocation by value: the next sample goes where it is worth most per token (ours).

With a verifier, a sample is worth the chance that it is right, learnt from all questions of the run
(`success_model.py`). Questions are closed as beyond help as long as the solutions that are expected
to be lost by it stay within a stated share of all that are expected: calibrated on the run itself,
in expectation under the model. Where the budget is scarce, those are put off whose next sample is
worth little beside what the run has bought per token so far, and closed in the end. Without a verifier, a sample is
worth what it is expected to add to the chance that the leading answer is ahead of its rival in
truth, under a uniform prior: the value of information, looked up to some samples ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, final

from rheostat.kernel.allocation import Epoch, Grant
from rheostat.kernel.policies.stop_rules import beta_majority
from rheostat.kernel.policies.success_model import SuccessModel, fitted
from rheostat.kernel.policies.votes import Seen, leads
from rheostat.kernel.samples import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.allocation import QuestionView

AHEAD = 8
"""Samples that are looked ahead without a verifier."""
SOLVED = 5
"""Questions that must be solved before the value of a token is known well enough to compare."""


@dataclass(frozen=True)
class _Worth:
    question: QuestionView
    samples: int
    rate: float
    """Value per token."""


@final
@dataclass(frozen=True, kw_only=True)
class ByValue:
    """Grants the samples of the highest value per token, while the budget has room."""

    lost: float = 0.02
    """Share of the expected solutions that closing questions may cost; 0 closes none for it."""
    floor: float = 0.5
    """Value per token, as a share of the run's so far, below which a question is put off when the
    budget reaches for no further sample at all; with a budget for all samples it is 0."""

    def epoch(
        self,
        questions: Sequence[QuestionView],
        left: float,
        width: int,
        finished: Sequence[QuestionView] = (),
    ) -> Epoch:
        """Close what is beyond help, then grant in the order of value."""
        if not any(question.verifier for question in (*questions, *finished)):
            return Epoch(_granted([_informed(q) for q in questions], left, width))
        model = fitted((*questions, *finished))
        worths = [_Worth(q, 1, model.chance(q) / tokens(q)) for q in questions]
        beyond = self._beyond_help(model, questions, finished)
        least = self._least(questions, left, finished)
        open_still = [worth for worth in worths if worth.question.id not in beyond]
        worth_it = [worth for worth in open_still if worth.rate >= least]
        if not worth_it:  # what was put off until now is worth no more for all that was learnt
            beyond |= {worth.question.id for worth in open_still}
        closed = tuple(q.id for q in questions if q.id in beyond)
        return Epoch(_granted(worth_it, left, width), closed)

    def _least(
        self, questions: Sequence[QuestionView], left: float, finished: Sequence[QuestionView]
    ) -> float:
        """Return the value per token that is asked for: 0 with a budget for every sample."""
        solved = sum(_solved(q) for q in finished)
        spent = sum(s.tokens for q in (*questions, *finished) for s in q.seen)
        wishes = sum((q.samples - len(q.seen)) * tokens(q) for q in questions)
        if solved < SOLVED or spent <= 0 or wishes <= 0:
            return 0.0
        return self.floor * max(0.0, 1 - left / wishes) * solved / spent

    def _beyond_help(
        self,
        model: SuccessModel,
        questions: Sequence[QuestionView],
        finished: Sequence[QuestionView],
    ) -> set[str]:
        """Return the questions of the least chance whose loss is allowed."""
        gone = [q for q in finished if not _solved(q)]
        chances = {q.id: model.chance_of_any(q) for q in (*questions, *gone)}
        may_lose = self.lost * (len(finished) - len(gone) + sum(chances.values()))
        may_lose -= sum(chances[q.id] for q in gone)
        beyond: set[str] = set()
        for question in sorted(questions, key=lambda q: chances[q.id]):
            may_lose -= chances[question.id]
            if may_lose < 0:
                break
            beyond.add(question.id)
        return beyond


def _solved(question: QuestionView) -> bool:
    return any(isinstance(s, Ended) and s.verified is True for s in question.seen)


def tokens(question: QuestionView) -> float:
    """Return the tokens of a further sample: their mean so far, with the bound as one sample."""
    spent = [float(sample.tokens) for sample in question.seen] or [question.bound]
    return max(1.0, sum(spent) / len(spent))


def _informed(question: QuestionView) -> _Worth:
    """Return the block of samples of the highest value of information per token."""
    x, y = leads([Seen(outcome=sample) for sample in question.seen])
    shared = (x + y + 1) / (len(question.seen) + 1.5)  # samples that speak for one of the two
    most = min(AHEAD, question.samples - len(question.seen))
    gains = [(information(x, y, m) * shared / m, -m) for m in range(1, most + 1)]
    rate, block = max(gains, default=(0.0, -1))
    return _Worth(question, min(-block, question.wanted), rate / tokens(question))


@lru_cache(maxsize=1 << 16)
def information(x: int, y: int, more: int) -> float:
    """Return what m more votes add to the chance that the answer ahead is the likelier one.

    Args:
        x: votes of the leader.
        y: votes of its rival.
        more: m, votes for one of the two.
    """
    now = max(beta_majority(x, y), 1 - beta_majority(x, y))
    later, share = 0.0, 1.0
    for i in range(more):  # P(0 of m for the leader) under Beta(x + 1, y + 1)
        share *= (y + 1 + i) / (x + y + 2 + i)
    for wins in range(more + 1):
        sure = beta_majority(x + wins, y + more - wins)
        later += share * max(sure, 1 - sure)
        if wins < more:
            share *= (more - wins) * (x + 1 + wins) / ((wins + 1) * (y + more - wins))
    return max(0.0, later - now)


def _granted(worths: Sequence[_Worth], left: float, width: int) -> tuple[Grant, ...]:
    """Grant in the order of value per token; equal values go round, fewest samples first."""
    order = sorted(worths, key=lambda w: (-w.rate, len(w.question.seen)))
    grants: list[Grant] = []
    for worth in order:
        bound = worth.question.bound
        fits = min(worth.samples, width, int(left // bound) if bound > 0 else width)
        if fits < 1:
            continue
        width, left = width - fits, left - fits * bound
        grants.append(Grant(worth.question.id, fits))
    return tuple(grants)
