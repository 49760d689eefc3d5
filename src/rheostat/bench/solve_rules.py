"""Rules of stopping on recorded questions: what each draws, answers, and would have answered.

A rule sees a question's samples in an order; orders are the cyclic shifts of the recorded one, and
a question's figures are means over them, so that questions stay the units of every interval. What
a rule launches counts whole, whether it looked at it or not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rheostat.kernel.oracle.samples import fewest_samples
from rheostat.kernel.oracle.samples import majority as majority_of
from rheostat.kernel.samples import Finish, Launch, Opened, SampleStart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rheostat.bench.solve_recordings import Recorded
    from rheostat.kernel.samples import Ended, SamplePolicy

    Floats = NDArray[np.float64]

SHIFTS = 8
"""Orders of each question's samples."""
RESAMPLES = 4000


class Drawn(NamedTuple):
    """What a rule made of one question in one order."""

    answer: str | None
    samples: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one rule: a mean over orders for every question, [questions]."""

    tokens: Floats
    samples: Floats
    agrees: Floats
    """Share of orders in which the answer is that of all samples."""
    right: Floats


def drawn_by(policy: SamplePolicy, ended: Sequence[Ended], *, name: str = "") -> Drawn:
    """Let a policy draw from samples in the order given."""
    state = policy.start(SampleStart(question=name, samples=len(ended)))
    events: deque[Any] = deque([Opened()])
    launched = 0
    while events:
        state, actions = policy.step(state, events.popleft())
        for action in actions:
            if isinstance(action, Finish):
                return Drawn(action.answer, launched, sum(e.tokens for e in ended[:launched]))
            assert isinstance(action, Launch), f"{action} cannot be done on recorded answers"
            events += ended[launched : launched + action.count]
            launched += action.count
    raise AssertionError("the policy neither draws nor answers")


def first_votes(samples: int) -> Callable[[Sequence[Ended], str], Drawn]:
    """Return the control that takes the majority of a fixed number of samples."""

    def drawn(ended: Sequence[Ended], _: str) -> Drawn:
        first = ended[:samples]
        return Drawn(majority(first), samples, sum(e.tokens for e in first))

    return drawn


def hindsight(ended: Sequence[Ended], _: str) -> Drawn:
    """Return the oracle: the fewest first samples whose majority is that of all of them."""
    return first_votes(fewest_samples([sample.answer for sample in ended]))(ended, "")


def majority(ended: Sequence[Ended]) -> str | None:
    """Return the answer of most votes, the earliest on a tie; None when none gave any."""
    return majority_of([sample.answer for sample in ended])


def figures(
    rule: Callable[[Sequence[Ended], str], Drawn], questions: Sequence[Recorded]
) -> Figures:
    """Let a rule answer every question in every order."""
    rows = np.array([_of_question(rule, question) for question in questions])
    tokens, samples, agrees, right = rows.T
    return Figures(tokens=tokens, samples=samples, agrees=agrees, right=right)


def _of_question(
    rule: Callable[[Sequence[Ended], str], Drawn], question: Recorded
) -> tuple[float, float, float, float]:
    sums = np.zeros(4)
    n = len(question.ended)
    for shift in range(0, n, max(1, n // SHIFTS)):
        order = question.ended[shift:] + question.ended[:shift]
        ended = [replace(sample, index=i) for i, sample in enumerate(order)]
        drawn = rule(ended, question.id)
        whole = majority(ended)
        right = question.right_answer(drawn.answer)
        sums += (drawn.tokens, drawn.samples, drawn.answer == whole, right)
    tokens, samples, agrees, right_share = sums / len(range(0, n, max(1, n // SHIFTS)))
    return float(tokens), float(samples), float(agrees), float(right_share)


def compared(own: Figures, whole: Figures, oracle: Figures) -> dict[str, Any]:
    """Return a rule's figures against all samples, with paired intervals over questions."""
    drawn = np.random.default_rng(0).integers(0, len(own.tokens), (RESAMPLES, len(own.tokens)))

    def interval(of: Callable[[Any], Floats]) -> list[float]:
        return [float(v) for v in np.quantile([of(rows) for rows in drawn], [0.025, 0.975])]

    def ratio(rows: Any) -> Any:
        return own.tokens[rows].sum() / whole.tokens[rows].sum()

    def gain(rows: Any) -> Any:
        return (own.right[rows] - whole.right[rows]).mean()

    every = slice(None)
    saved = whole.tokens.sum() - own.tokens.sum()
    return {
        "tokens_per_question": float(own.tokens.mean()),
        "samples_per_question": float(own.samples.mean()),
        "tokens_ratio": float(ratio(every)),
        "tokens_ratio_interval": interval(ratio),
        "agreement": float(own.agrees.mean()),
        "agreement_interval": interval(lambda rows: own.agrees[rows].mean()),
        "accuracy": float(own.right.mean()),
        "accuracy_difference": float(gain(every)),
        "accuracy_difference_interval": interval(gain),
        "share_of_oracle_saving": float(saved / (whole.tokens.sum() - oracle.tokens.sum())),
    }


def against_fixed(own: Figures, fixed: Sequence[Figures]) -> dict[str, Any]:
    """Compare with the best mixture of two fixed numbers of samples at the same mean tokens.

    Returns:
        The differences in agreement and accuracy, with paired intervals over questions.
    """
    means = [f.tokens.mean() for f in fixed]
    above = min(int(np.searchsorted(means, own.tokens.mean())), len(fixed) - 1)
    below = max(above - 1, 0)
    span = means[above] - means[below]
    share = 1.0 if span <= 0 else float(np.clip((own.tokens.mean() - means[below]) / span, 0, 1))
    found: dict[str, Any] = {}
    drawn = np.random.default_rng(0).integers(0, len(own.tokens), (RESAMPLES, len(own.tokens)))
    for name in ("agrees", "right"):
        low, high = (getattr(fixed[i], name) for i in (below, above))
        gains = getattr(own, name) - (low + share * (high - low))
        found[name] = float(gains.mean())
        found[f"{name}_interval"] = np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975]).tolist()
    return found
