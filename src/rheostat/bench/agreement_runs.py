"""Simulated questions for the suite `agreement`: draws, orders of completion, rules on counts.

Rules of its-hub 1.2.0 are restated here from a description of their behaviour and not run from the
package: `adaptive` draws 2 samples, then doubles, and stops when an answer has 75 % of them;
`beta` starts all N at once and stops at the first completion after which P(share of the leader >
1/2) under Beta(x + 1, y + 1) is at least 0.95, counting answers in the order of completion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.kernel.policies.agreement_sets import SETS
from rheostat.kernel.policies.stop_rules import BetaPosterior, Lead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.policies.stop_rules import Enough

    Ints = NDArray[np.int64]

FAST = 3.0
"""How much faster wrong answers are in the order `wrong first`."""

_SHORT = 7
"""Counts below 256 that fit into one integer."""


@dataclass(frozen=True)
class Counts:
    """Leaders of every prefix of many runs; [runs, N] arrays."""

    leader: Ints
    first: Ints
    second: Ints
    others: Ints
    """Votes of the answers behind those two in descending order, [runs, N, answers]; no answers
    where no rule looks at them."""

    @property
    def majority(self) -> Ints:
        """The majority of all N of each run, [runs]."""
        return self.leader[:, -1]


@dataclass(frozen=True)
class Stopped:
    """Where a rule stopped, and what it answered; [runs] arrays."""

    samples: Ints
    answer: Ints


def drawn(shares: Sequence[float], runs: int, samples: int, rng: np.random.Generator) -> Ints:
    """Return answers 0.., [runs, N]; what the shares leave over gives an answer nobody else has."""
    bounds = np.cumsum(shares)
    found = np.searchsorted(bounds, rng.random((runs, samples)), side="right")
    alone = len(shares) + np.arange(samples)
    return np.where(found < len(shares), found, alone)


def counted(answers: Ints) -> Counts:
    """Count every prefix; ties go to the answer that came first."""
    runs, samples = answers.shape
    kinds = int(answers.max()) + 1
    votes = np.zeros((runs, kinds), np.int64)
    since = np.full((runs, kinds), samples)
    rows = np.arange(runs)
    leader, first, second = (np.zeros((runs, samples), np.int64) for _ in range(3))
    behind = np.zeros((runs, samples, max(0, kinds - 2) if samples in SETS else 0), np.int64)
    for n in range(samples):
        votes[rows, answers[:, n]] += 1
        since[rows, answers[:, n]] = np.minimum(since[rows, answers[:, n]], n)
        key = votes * (samples + 1) - since
        leader[:, n] = key.argmax(1)
        first[:, n] = votes[rows, leader[:, n]]
        others = votes.copy()
        others[rows, leader[:, n]] = 0
        second[:, n] = others.max(1)
        if behind.shape[2]:
            behind[:, n] = -np.sort(-votes, axis=1)[:, 2:]
    return Counts(leader, first, second, behind)


def completed(answers: Ints, order: str, rng: np.random.Generator) -> Ints:
    """Return the answers in the order in which they end; answer 0 is the right one.

    Args:
        answers: in launch order, [runs, N].
        order: `launch`, `even` (equal lengths, give or take a fifth), or `wrong first`.
        rng: of the lengths.
    """
    if order == "launch":
        return answers
    length = 1 + 0.4 * (rng.random(answers.shape) - 0.5)
    if order == "wrong first":
        length = np.where(answers == 0, length, length / FAST)
    return np.take_along_axis(answers, np.argsort(length, axis=1, kind="stable"), axis=1)


def stopped(enough: Enough, counts: Counts) -> Stopped:
    """Apply a rule to every prefix; states are asked once, however many runs visit them."""
    runs, samples = counts.leader.shape
    seen = np.broadcast_to(np.arange(1, samples + 1), (runs, samples))
    parts = [counts.first[..., None], counts.second[..., None], seen[..., None], counts.others]
    states = np.concatenate(parts, axis=-1).reshape(runs * samples, -1)
    _, one, where = np.unique(_coded(states), return_index=True, return_inverse=True)
    holds = np.array([_holds(enough, state, samples) for state in states[one].tolist()])
    return _at(holds[where].reshape(runs, samples), counts)


def _coded(states: Ints) -> Any:
    """Return one comparable value a row: a number where rows are short, else its bytes."""
    if states.shape[1] <= _SHORT:
        return states @ (256 ** np.arange(states.shape[1]))
    bytes_of = np.ascontiguousarray(states.astype(np.int8))
    return bytes_of.view([("", np.void, bytes_of.shape[1])]).ravel()


def _holds(enough: Enough, state: Sequence[int], samples: int) -> bool:
    x, y, n, *others = state
    known = tuple(other for other in others if other)
    return n == samples or enough.holds(Lead(x, y, n, samples, known))


def adaptive(counts: Counts) -> Stopped:
    """Stop at a share of 0.75 after 2, 4, 8, … samples: its-hub's batches."""
    samples = counts.leader.shape[1]
    looks = [n for n in (2**i for i in range(1, 12)) if n < samples]
    holds = np.zeros(counts.leader.shape, bool)
    for n in looks:
        holds[:, n - 1] = counts.first[:, n - 1] >= 0.75 * n
    holds[:, -1] = True
    return _at(holds, counts)


def raced(counts: Counts) -> Stopped:
    """Stop at a posterior of 0.95 in the order of completion: its-hub's Beta rule."""
    return stopped(BetaPosterior(threshold=0.95), counts)


def _at(holds: NDArray[np.bool_], counts: Counts) -> Stopped:
    when = holds.argmax(1)
    return Stopped(when + 1, np.take_along_axis(counts.leader, when[:, None], axis=1)[:, 0])
