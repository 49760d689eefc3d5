"""How well could any policy divide a budget that sees kinds of tasks, and which samples are right?

A policy that knows before how many samples are right in how many questions of each kind, and learns
of a question only whether each sample of it is right, chooses how many samples each question of a
kind may take. Randomised over questions that is a linear programme: no such policy does better on
average over the order of samples. It bounds what success and kinds can tell; what texts and answers
tell beyond that is not in it. Ours.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.stages.recorded import Recorded


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What at most k samples of a question bring, k = 0..N; [kinds, N + 1] arrays of sums."""

    solved: Any
    tokens: Any
    in_vain: Any
    """Tokens on questions of which no sample is right."""


def choices(questions: Sequence[Recorded]) -> Choices:
    """Return the expected sums over each kind of task, samples in random order."""
    by_kind: dict[str, list[list[tuple[float, float, float]]]] = defaultdict(list)
    for question in questions:
        by_kind[question.task].append(_of(question))
    sums = np.array([np.array(rows).sum(axis=0) for rows in by_kind.values()])
    return Choices(solved=sums[..., 0], tokens=sums[..., 1], in_vain=sums[..., 2])


def _of(question: Recorded) -> list[tuple[float, float, float]]:
    n, right = len(question.right), sum(question.right)
    prompt = sum(sample.cost.prompt_tokens for sample in question.samples)
    each = sum(question.tokens) / n
    rows, spent = [(0.0, 0.0, 0.0)], float(prompt)
    for k in range(1, n + 1):
        spent += each * comb(n - right, k - 1) / comb(n, k - 1)  # that the k-th is drawn
        solved = 1 - comb(n - right, k) / comb(n, k)
        rows.append((solved, spent, spent if right == 0 else 0.0))
    return rows


def least_tokens(found: Choices, solved: float) -> float:
    """Return the fewest tokens at which so many questions are solved."""
    return _least(found, found.tokens, solved=solved, tokens=None)


def least_in_vain(found: Choices, solved: float, tokens: float) -> float:
    """Return the fewest tokens on questions that no sample solves, so many solved in a budget."""
    return _least(found, found.in_vain, solved=solved, tokens=tokens)


def most_solved(found: Choices, tokens: float) -> float:
    """Return the most questions that a budget solves."""
    return -_least(found, -found.solved, solved=0.0, tokens=tokens)


def _least(found: Choices, cost: Any, *, solved: float, tokens: float | None) -> float:
    from scipy.optimize import linprog

    kinds, most = found.solved.shape
    rows, limits = [-found.solved.ravel()], [-solved]
    if tokens is not None:
        rows.append(found.tokens.ravel())
        limits.append(tokens)
    shares = np.kron(np.eye(kinds), np.ones((1, most)))  # of each kind's questions
    done = linprog(
        cost.ravel(), A_ub=rows, b_ub=limits, A_eq=shares, b_eq=np.ones(kinds), bounds=(0, 1)
    )
    return float(done.fun) if done.status == 0 else float("nan")
