"""How likely is it that a question's next sample is right? Learnt while the questions are solved.

A logistic regression, fitted anew in every epoch on the prefixes of all questions of the run: what
was known after k samples of which none was right, and whether sample k + 1 passed the verifier. It
sees the task's own features and those of its first samples. A ridge draws it to the mean rate of
success, so that with few samples all questions look alike. Samples of other questions, recorded
earlier, can be learnt from as well: their prefixes without a right sample, too, as after one the
answers that agree are right, and before it they are wrong. Deterministic; ours.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rheostat.kernel.samples import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.allocation import QuestionView
    from rheostat.kernel.samples import Lost

    Floats = NDArray[np.float64]

RIDGE = 16.0
"""Weight of the ridge on a standardised feature, in samples."""
PSEUDO = 6.0
"""Samples that a predicted share is worth: the likeliest on recordings of arithmetic."""
STEPS = 60
"""Newton steps at most."""
ENOUGH = 1e-7
"""The largest change of a weight that is not worth a step."""


def described(features: Sequence[float], seen: Sequence[Ended | Lost]) -> list[float]:
    """Return what is known of a question after some samples."""
    ended = [s for s in seen if isinstance(s, Ended)]
    answers = [s.answer for s in ended if s.answer is not None]
    logprobs = [s.logprob for s in ended if s.logprob is not None and math.isfinite(s.logprob)]
    most = max((answers.count(answer) for answer in set(answers)), default=0)
    tried = len(seen)
    return [
        *features,
        math.log1p(tried),
        (tried - len(answers)) / (tried + 1),
        (len(set(answers)) - 1) / (tried + 1) if answers else 0.0,
        (most - 1) / (tried + 1) if answers else 0.0,
        sum(logprobs) / (len(logprobs) + 1),
    ]


@dataclass(frozen=True)
class SuccessModel:
    """The chance that the next sample is right, by what is known of a question."""

    weights: Floats
    """[features + 1], of standardised features; the last is the constant."""
    centre: Floats
    scale: Floats

    def chance(self, question: QuestionView) -> float:
        """Return the chance of the next sample, in (0, 1)."""
        known = (np.array(described(question.features, question.seen)) - self.centre) / self.scale
        logit = float(known @ self.weights[:-1] + self.weights[-1])
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))

    def chance_of_any(self, question: QuestionView) -> float:
        """Return the chance that one of the samples left is right."""
        return 1.0 - float(np.prod(1.0 - self.chances(question)))

    def chances(self, question: QuestionView) -> Floats:
        """Return the chance of each sample that is left if all before it are wrong, [left].

        The shares of right samples behind equal signs differ; after k failures they are taken as
        Beta of the predicted mean and k + 6 pseudo-samples.
        """
        mean, weight = self.chance(question), len(question.seen) + PSEUDO
        wrong = np.arange(max(0, question.samples - len(question.seen)), dtype=np.float64)
        shares: Floats = mean * weight / (weight + wrong)
        return shares


class Examples(NamedTuple):
    """What was known before samples, and whether they were right."""

    known: Floats
    """[samples, features], as `described`."""
    right: Floats
    """1 or 0, [samples]."""
    solved: int = 0
    """Questions with a right sample."""

    @property
    def digest(self) -> str:
        """Return a digest of all of it."""
        return hashlib.sha256(self.known.tobytes() + self.right.tobytes()).hexdigest()


def examples(questions: Sequence[QuestionView], orders: int = 1) -> Examples:
    """Return the prefixes of every question up to its first right sample.

    Args:
        questions: with their samples in launch order; after a right one none would be drawn.
        orders: cyclic orders of a question's samples that are looked at. More than one are for
            samples that were drawn whatever came before: a recording, not a run that stopped.
    """
    rows, right, solved = [], [], 0
    for question in questions:
        seen = question.seen
        solved += any(is_right(sample) for sample in seen)
        for at in range(0, len(seen), max(1, len(seen) // orders)):
            turned = seen[at:] + seen[:at]
            for k, sample in enumerate(turned):
                rows.append(described(question.features, turned[:k]))
                right.append(is_right(sample))
                if right[-1]:
                    break
    width = len(described(questions[0].features, ())) if questions else 0
    known = np.array(rows, dtype=float).reshape(len(rows), width)
    return Examples(known, np.array(right, dtype=float), solved)


def is_right(sample: Ended | Lost) -> bool:
    """Return whether a sample passed the verifier."""
    return isinstance(sample, Ended) and sample.verified is True


def fitted(questions: Sequence[QuestionView], learnt: Examples | None = None) -> SuccessModel:
    """Fit the model on the samples of a run so far, and on what was learnt before it."""
    known, right, _ = examples(questions)
    if learnt is not None and len(learnt.right):
        known = np.vstack([known, learnt.known])
        right = np.concatenate([right, learnt.right])
    rows, width = known.shape
    centre = known.mean(0) if rows else np.zeros(width)
    scale = known.std(0) + 1e-9 if rows else np.ones(width)
    x = np.hstack([(known - centre) / scale, np.ones((rows, 1))])
    return SuccessModel(_logistic(x, right), centre, scale)


def _logistic(x: Floats, y: Floats) -> Floats:
    """Return the weights of the highest penalised likelihood, by Newton steps that help."""
    rate = (y.sum() + 0.5) / (len(y) + 2.0)
    start = np.zeros(x.shape[1])
    start[-1] = math.log(rate / (1 - rate))
    ridge = np.array([*[RIDGE] * (len(start) - 1), 0.5])

    def gain(weights: Floats) -> float:
        odds = x @ weights
        return float(y @ odds - np.logaddexp(0.0, odds).sum() - ridge @ (weights - start) ** 2 / 2)

    weights, best = start, gain(start)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (y - chance) - ridge * (weights - start)
        curve = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        while np.abs(step).max() > ENOUGH and gain(weights + step) < best:
            step = step / 2
        if np.abs(step).max() <= ENOUGH:
            break
        weights = weights + step
        best = gain(weights)
    return weights
