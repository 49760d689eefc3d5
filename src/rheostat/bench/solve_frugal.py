"""How many solutions must a question promise for the tokens that may be in vain?

The setting is chosen on the recordings that an allocation may learn from: each half of them in
turn teaches and the other half is run. It is the most frugal one that still gains enough over the
equal split, with a margin; on the questions that are published the whole curve is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rheostat.bench.solve_budget import equal_split, run_under, taught
from rheostat.kernel.policies.by_value import ByValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.bench.solve_budget import Spent
    from rheostat.kernel.policies.success_model import Examples
    from rheostat.kernel.samples import SamplePolicy
    from rheostat.stages.recorded import Recorded

FRUGAL = (0.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 12.0)
"""Solutions for 1,000 tokens in vain that a frugal run asks of a question."""
GAIN = 0.05
"""Of solved questions over the equal split, that a run must reach."""
MARGIN = 0.025
"""By which it must be passed where the setting is chosen."""
SPLITS = 3
"""Times that the questions are divided in two."""


def frugal_curve(
    questions: Sequence[Recorded], known: Examples, policy: SamplePolicy, each: int
) -> list[dict[str, float]]:
    """Return, by setting, what a run solves, what it spends, and what of it in vain.

    Args:
        questions: whose samples are drawn.
        known: what the allocation has learnt before.
        policy: of every question.
        each: samples of a question in the equal split, whose tokens are the budget.
    """
    split = equal_split(questions, each)
    tokens = int(split.tokens.sum())
    rows = []
    for frugal in FRUGAL:
        allocation = ByValue(learnt=known, frugal=frugal)
        own = run_under(questions, policy, allocation, tokens=tokens)
        rows.append({"frugal": frugal} | beside(own, split, questions))
    return rows


def beside(own: Spent, split: Spent, questions: Sequence[Recorded]) -> dict[str, float]:
    """Compare with the equal split: solved, all tokens, and tokens on what no sample solves."""
    hopeless = [not any(question.right) for question in questions]
    return {
        "solved_gain": float(own.solved.mean() - split.solved.mean()),
        "tokens_ratio": float(own.tokens.sum() / split.tokens.sum()),
        "unsolvable_ratio": float(own.tokens[hopeless].sum() / split.tokens[hopeless].sum()),
    }


def curve_on_halves(
    learnt: Sequence[Recorded], policy: SamplePolicy, each: int
) -> list[dict[str, float]]:
    """Return the mean curve over both halves of each division of the questions."""
    curves = []
    for seed in range(SPLITS):
        drawn = np.random.default_rng(seed).permutation(len(learnt))
        parts = [sorted(part.tolist()) for part in np.array_split(drawn, 2)]
        one, two = ([learnt[i] for i in part] for part in parts)
        curves += [frugal_curve(b, taught(a), policy, each) for a, b in ((one, two), (two, one))]
    return [
        {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        for rows in zip(*curves, strict=True)
    ]


def chosen(curve: Sequence[dict[str, float]]) -> float:
    """Return the most frugal setting that gains enough; 0 where none does."""
    enough = [row["frugal"] for row in curve if row["solved_gain"] >= GAIN + MARGIN]
    return max(enough, default=0.0)
