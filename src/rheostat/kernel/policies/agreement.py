"""`Agreement`: stop early, and rarely answer otherwise than the majority of all N samples.

The stopped run is coupled with the majority of N on the same draws (ties: the earliest launch). For
every fixed distribution of answers, whatever it is,

    P(stopped before N and the answers differ) <= alpha:

a frequentist bound, which assumes that the samples of a question are independent draws of one
distribution, and no prior. The rule looks after every sample. For N = 8, 12 and 16 it stops at the
counts of all answers that `agreement_sets.py` lists, under the certificate of `agreement_types.py`.
For other N, and for alpha below the least one listed, it stops when the leader's x votes, its
nearest rival's y and the n samples seen form a state of S(N, alpha), which grows with alpha;
`agreement_pairs.py` has the proof.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.policies.agreement_counts import all_counts, counts_set
from rheostat.kernel.policies.agreement_pairs import error_bound, error_seen
from rheostat.kernel.policies.stop_rules import soonest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rheostat.kernel.policies.stop_rules import Lead

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

MOST = 64
"""Largest N with a bound of its own; above it only what is certain stops a question."""
GROWTH, GROWN = 120, 25
"""States that are tried one by one after the first that is refuted, and the N up to which."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Stop in the states of S(N, alpha); reports 1 - alpha, or 1 where the answer is certain."""

    alpha: float

    def holds(self, lead: Lead) -> bool:
        """Return whether the counts are in the set; never at alpha 0."""
        waits = counts_set(lead.samples, self.alpha)
        if waits is not None:
            return waits[all_counts(lead)] == 0
        return self.alpha > 0 and bool(stop_set(lead.samples, self.alpha)[_state(lead)])

    def wait(self, lead: Lead) -> int:
        """Return how many samples it takes at least until it can stop."""
        waits = counts_set(lead.samples, self.alpha)
        return soonest(self, lead) if waits is None else waits[all_counts(lead)]

    def confidence(self, lead: Lead) -> float:
        """Return the promise."""
        return 1.0 if lead.first - lead.second > lead.left else 1.0 - self.alpha


def _state(lead: Lead) -> tuple[int, int, int]:
    rival = max(lead.second, 1) if lead.first < lead.seen else 0
    return lead.seen, lead.first, rival


@lru_cache(maxsize=64)
def stop_set(samples: int, alpha: float) -> Bools:
    """Return S(N, alpha), [N + 1, N + 1, N + 1] over (n, x, y)."""
    scores = evidence(samples)
    if samples > MOST:
        return closed(scores == -np.inf)
    aim = alpha
    while True:  # what a few distributions allow, until the bound for all of them allows it
        states = _grown(scores, aim)
        bound = error_bound(states)
        if bound <= alpha:
            return states
        aim *= 0.98 * alpha / bound


def _grown(scores: Floats, alpha: float) -> Bools:
    """Return as many states as a few distributions allow, the safest first."""
    values = np.unique(scores[np.isfinite(scores)])

    def refuted(value: float) -> bool:
        return error_seen(closed(scores <= value)) > alpha

    safe = bisect_left(range(len(values)), True, key=lambda i: refuted(float(values[i])))
    states = closed(scores < values[safe] if safe < len(values) else np.isfinite(scores))
    for value in values[safe : safe + GROWTH] if len(scores) <= GROWN else ():
        more = closed(states | (scores == value))
        if error_seen(more) <= alpha:
            states = more
    return states


def evidence(samples: int) -> Floats:
    """Return a score of every state: the lower, the safer it is to stop there.

    It is the logarithm of (how likely are such counts if leader and rival are equally probable,
    relative to the likeliest shares) x (the chance that the rival still overtakes it then), over
    the root of the samples that stopping saves. -inf: nothing can overtake; inf: no lead.
    """
    scores = np.full((samples + 1,) * 3, np.inf)
    for n in range(1, samples):
        for both in range(1, n + 1):
            gains = _net(both / (2 * n), samples - n)
            for x in range(both // 2 + 1, both + 1):
                y = both - x
                if (y == 0 and x < n) or x < 2:
                    continue
                ahead, level = _overtaken(gains, x - y)
                chance = ahead + level * y / both
                scores[n, x, y] = (
                    _log_ratio(x, y) + math.log(chance) - math.log(samples - n) / 2
                    if chance > 0
                    else -np.inf
                )
    return scores


def closed(states: Bools) -> Bools:
    """Return the states with those of more votes for the leader, or fewer for the rival."""
    found = states.copy()
    samples = len(found) - 1
    n, x, y = np.indices(found.shape)
    legal = (x >= 2) & (x > y) & (x + y <= n) & (n < samples) & ((y > 0) | (x == n))
    for i in range(1, samples):
        if i > 1:  # a further vote for the leader
            found[i, 1:] |= found[i - 1, :-1]
        found[i] = np.logical_or.accumulate(found[i], axis=0)
        found[i] = np.logical_or.accumulate(found[i][:, ::-1], axis=1)[:, ::-1]
        found[i] &= legal[i]
    return found


def _net(each: float, steps: int) -> Floats:
    """Return P(one of two equal answers gains d on the other), d = -steps..steps."""
    step, made = np.array([each, 1 - 2 * each, each]), np.ones(1)
    while steps:
        if steps & 1:
            made = np.convolve(made, step)
        step, steps = np.convolve(step, step), steps >> 1
    return made


def _overtaken(gains: Floats, lead: int) -> tuple[float, float]:
    middle = len(gains) // 2
    if lead > middle:
        return 0.0, 0.0
    return float(gains[middle + lead + 1 :].sum()), float(gains[middle + lead])


def _log_ratio(x: int, y: int) -> float:
    return (x + y) * math.log((x + y) / 2) - x * math.log(x) - (y * math.log(y) if y else 0.0)
