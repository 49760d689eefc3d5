"""Rules of stopping on recorded questions: what each draws, answers, and would have answered.

A question's figures are means over the orders of its samples, so that questions stay the units of
every interval.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.kernel.oracle.samples import fewest_samples
from rheostat.kernel.oracle.samples import majority as majority_of
from rheostat.stages.replayed import Drawn, order_name, orders_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.cost_laws import PrefillEquivalents
    from rheostat.kernel.samples import Ended
    from rheostat.stages.recorded import Recorded

    Floats = NDArray[np.float64]

RESAMPLES = 4000


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one rule: a mean over orders for every question, [questions]."""

    tokens: Floats
    samples: Floats
    agrees: Floats
    """Share of orders in which the answer is that of all samples."""
    right: Floats
    by_order: Floats = field(default_factory=lambda: np.zeros((0, 0, 2)))
    """Whether the answer is that of all samples, and right, in every order:
    [questions, orders, 2]; empty where nobody looks at it."""


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
    found = np.array([_of_question(rule, question) for question in questions])
    tokens, samples, agrees, right = found.mean(axis=1).T
    return Figures(
        tokens=tokens, samples=samples, agrees=agrees, right=right, by_order=found[:, :, 2:]
    )


def _of_question(
    rule: Callable[[Sequence[Ended], str], Drawn], question: Recorded
) -> list[tuple[float, float, float, float]]:
    """Return tokens, samples, agreement and rightness in every order."""
    found = []
    for at, ended in enumerate(orders_of(question)):
        drawn = rule(ended, order_name(question, at))
        agrees = drawn.answer == majority(ended)
        right = question.right_answer(drawn.answer)
        found.append((float(drawn.tokens), float(drawn.samples), float(agrees), float(right)))
    return found


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
        "agreement_deviation": deviation(own, 0),
        "accuracy_deviation": deviation(own, 1),
        "share_of_oracle_saving": float(saved / (whole.tokens.sum() - oracle.tokens.sum())),
    }


def deviation(own: Figures, what: int) -> float:
    """Return the standard deviation between orders of the mean over questions: run-to-run noise."""
    return float(own.by_order[:, :, what].mean(axis=0).std(ddof=1))


def prefill_equivalents(
    own: Figures, questions: Sequence[Recorded], law: PrefillEquivalents
) -> Floats:
    """Return the cost of each question in tokens read, [questions]: its prompt is read once, and
    samples are taken to be of equal length.
    """
    costs = []
    for question, tokens, samples in zip(questions, own.tokens, own.samples, strict=True):
        prompt = sum(sample.cost.prompt_tokens for sample in question.samples)
        each = law.context * (prompt + tokens / max(samples, 1) / 2)
        costs.append(prompt + tokens * (law.step + each))
    return np.array(costs)


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
    for name in ("agrees", "right"):
        low, high = (getattr(fixed[i], name) for i in (below, above))
        found |= paired(getattr(own, name) - (low + share * (high - low)), name)
    return found


def against(own: Figures, control: Figures) -> dict[str, Any]:
    """Return the differences in agreement and accuracy from a control, with paired intervals."""
    found = paired(own.agrees - control.agrees, "agrees")
    return found | paired(own.right - control.right, "right")


def paired(gains: Floats, name: str) -> dict[str, Any]:
    """Return the mean of differences by question, [questions], and its bootstrap interval."""
    drawn = np.random.default_rng(0).integers(0, len(gains), (RESAMPLES, len(gains)))
    interval = np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975]).tolist()
    return {name: float(gains.mean()), f"{name}_interval": interval}


def verdict(fixed: Mapping[str, Any], lots: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether a rule beats both controls in agreement, or both in accuracy."""
    said, better = [], {"agrees": "agreement", "right": "accuracy"}
    for name, word in list(better.items()):
        for control, gains in (("fixed numbers", fixed), ("lots", lots)):
            low, high = gains[f"{name}_interval"]
            said.append(f"{word} {gains[name]:+.3f} ({low:+.3f} to {high:+.3f}) over {control}")
            if low <= 0:
                better.pop(name, None)
    return {"beats_controls": bool(better), "evidence": f"at equal tokens: {', '.join(said)}"}
