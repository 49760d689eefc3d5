"""Allocation by value: the next sample goes where it is worth most per token (ours).

With a verifier, a question is worth the most solutions per token that any number of further samples
is expected to bring: its index, with the prompt of a question that nobody has asked yet spread over
its first samples. Chances are learnt from all questions of the run, and from recorded samples of
others where there are some (`success_model.py`). Questions
are closed as beyond help as long as the solutions that are lost by it stay within a stated share of
all that are expected, with a chance of 19 in 20 under the model: the expected number of them and
1.645 of its standard deviations, as questions are right or wrong by themselves.
A frugal run also leaves questions alone from which too few solutions are expected for the tokens
that are spent on them in vain if no sample of theirs is right, and closes them when nothing else is
left: what is left of the budget stays unspent. Without a verifier, a sample is worth
what it is expected to add to the chance that the leading answer is ahead of its rival in truth,
under a uniform prior: the value of information, looked up to some samples ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, final

import numpy as np

from rheostat.kernel.allocation import Epoch, Grant
from rheostat.kernel.policies.stop_rules import beta_majority
from rheostat.kernel.policies.success_model import Examples, SuccessModel, fitted, is_right
from rheostat.kernel.policies.votes import Seen, leads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.allocation import QuestionView

AHEAD = 8
"""Samples that are looked ahead without a verifier."""
LEAST_HOPELESS = 1e-6
"""Chance that a question has no solution, however sure the model is."""
KNOWN = 20
"""Questions with a right sample that are known before a frugal run leaves any alone."""
DEVIATIONS = 1.645
"""Standard deviations over the expectation that 19 of 20 runs stay under."""
LEAST = 2
"""Samples of a question before it may be closed, unless others of the run tell enough."""


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
    """Share of the expected solutions that closing questions may cost at most, with a chance of 19
    in 20 under the model; 0 closes none."""
    frugal: float = 0.0
    """Solutions that a question must promise for 1,000 tokens in vain; 0 leaves none alone."""
    learnt: Examples | None = field(default=None, compare=False)
    """Samples of other questions, such as a recording's, that chances are learnt from as well."""

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
        model = fitted((*questions, *finished), self.learnt)
        closed = self._closed(model, questions, finished)
        new = new_tokens((*questions, *finished))
        kept = [_Worth(q, 1, index(model, q, new)) for q in questions if q.id not in closed]
        if self.frugal > 0 and self._solved((*questions, *finished)) >= KNOWN:
            least = self.frugal / 1000
            kept = [w for w in kept if index(model, w.question, new, in_vain=True) >= least]
        if not kept:
            closed = tuple(q.id for q in questions)
        return Epoch(_granted(kept, left, width), closed)

    def _solved(self, questions: Sequence[QuestionView]) -> int:
        """Return how many solved questions are known, those learnt from included."""
        before = 0 if self.learnt is None else self.learnt.solved
        return before + sum(any(is_right(s) for s in q.seen) for q in questions)

    def _closed(
        self,
        model: SuccessModel,
        questions: Sequence[QuestionView],
        finished: Sequence[QuestionView],
    ) -> tuple[str, ...]:
        """Return the questions of the least chance whose loss is allowed, in the tasks' order."""
        solved = sum(any(is_right(s) for s in q.seen) for q in finished)
        gone = [q for q in finished if not any(is_right(s) for s in q.seen)]
        chances = {q.id: model.chance_of_any(q) for q in (*questions, *gone)}
        may_lose = self.lost * (solved + sum(chances.values()))
        lost = sum(chances[q.id] for q in gone)
        variance = sum(chances[q.id] * (1 - chances[q.id]) for q in gone)
        closed = set()
        for question in sorted(questions, key=lambda q: chances[q.id]):
            chance = chances[question.id]
            lost, variance = lost + chance, variance + chance * (1 - chance)
            if lost + DEVIATIONS * math.sqrt(variance) > may_lose or len(question.seen) < LEAST:
                break
            closed.add(question.id)
        return tuple(q.id for q in questions if q.id in closed)


def new_tokens(questions: Sequence[QuestionView]) -> float:
    """Return the new tokens of a sample: their mean over the run, with the least bound as one."""
    spent = [float(sample.tokens) for q in questions for sample in q.seen]
    spent.append(min(q.bound for q in questions))
    return max(1.0, sum(spent) / len(spent))


def index(
    model: SuccessModel, question: QuestionView, new: float, *, in_vain: bool = False
) -> float:
    """Return the most solutions per token that any number of further samples is expected to bring.

    Args:
        new: new tokens of a sample; of a question's first one, the rest of the bound is its prompt.
        in_vain: count no tokens but those of the case that all samples of the question are wrong.
    """
    spent = best = solved = 0.0
    prompt = 0.0 if question.seen else max(0.0, question.bound - new)
    chances = model.chances(question)
    hopeless = max(float(np.prod(1.0 - chances)), LEAST_HOPELESS)
    for j, chance in enumerate(chances):
        drawn = hopeless if in_vain else 1.0 - solved
        first = hopeless if in_vain else 1.0
        spent += drawn * new + (first * prompt if j == 0 else 0.0)
        solved += (1 - solved) * chance
        if solved / spent <= best:
            break
        best = solved / spent
    return best


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
        fits = min(worth.samples, width, _room(left, bound, width))
        if fits < 1:
            continue
        width, left = width - fits, left - fits * bound
        grants.append(Grant(worth.question.id, fits))
    return tuple(grants)


def _room(left: float, bound: float, width: int) -> int:
    """Return how many samples of a bound fit into what is left, `width` at most."""
    return int(min(left / bound, width)) if bound > 0 else width
