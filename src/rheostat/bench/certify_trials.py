"""Many trials of certifying a path at once, and of picking the best on the calibration set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.certify.betting import betting_p_value
from rheostat.kernel.certify.binomial import binomial_p_value
from rheostat.kernel.certify.fallback import shares
from rheostat.kernel.certify.hoeffding_bentkus import hoeffding_bentkus_p_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rheostat.bench.certify_worlds import Sampled, World
    from rheostat.kernel.certify.bounds import Bound

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BLOCK = 2**15
"""Losses that are bet on at once: so many stay in a processor's cache."""
BEGINNING = 8
"""The share of a sample, one in so many, that is looked at first."""
BASE = -1
"""The setting of a trial in which no dial was turned."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be certified: settings by their prices, each cheaper than the one before it."""

    world: World
    limit: float
    alpha: float
    searched: int = 60
    """Items of the search, on which the path is ordered."""


def paths(task: Task, trials: int, rng: np.random.Generator) -> Ints:
    """Return all settings by their loss on search data, [trials, settings]; of equals the cheapest.

    Settings are numbered from dear to cheap.
    """
    seen = task.world.sample(trials, task.searched, rng).means
    numbers = np.broadcast_to(np.arange(seen.shape[1]), seen.shape)
    return np.asarray(np.lexsort((-numbers, seen), axis=1))


def chosen_by_certificate(task: Task, bound: Bound, path: Ints, sampled: Sampled) -> Ints:
    """Walk every path as `certified` does; return the cheapest setting that passed, [trials]."""
    height, width = path.shape
    own = shares(width)
    levels = np.zeros((height, width))
    levels[:, : len(own)] = task.alpha * np.array(own)
    chosen = np.full(height, BASE)
    for at in range(width):
        running = np.flatnonzero((levels[:, at] > 0.0) & (path[:, at] > chosen))
        passed = np.zeros(height, dtype=bool)
        for setting in np.unique(path[running, at]):
            here = running[path[running, at] == setting]
            found = p_values(task, bound, sampled, int(setting), here, levels[here, at])
            passed[here] = found <= levels[here, at]
        rows = np.flatnonzero(passed)
        chosen[rows] = path[rows, at]
        cheaper = path[rows, at + 1 :] > path[rows, at, None]
        handing = cheaper.any(axis=1)
        following = at + 1 + cheaper[handing].argmax(axis=1) if handing.any() else []
        levels[rows[handing], following] += levels[rows[handing], at]
    return chosen


def p_values(  # noqa: PLR0913  # of which losses, in which trials, held against what
    task: Task, bound: Bound, sampled: Sampled, setting: int, trials: Ints, levels: Floats
) -> Floats:
    """Return the p-values of a setting in some of the trials, each held against its level.

    Two bounds need a sum alone. Where the beginning of a sample is enough for `betting` its
    p-value stands for the whole's, which is no larger.
    """
    if bound.name == "binomial":
        return binomial_p_value(sampled.failures[trials, setting], sampled.items, task.limit)
    if bound.name == "hoeffding_bentkus":
        means = sampled.means[trials, setting]
        return hoeffding_bentkus_p_value(means, sampled.items, task.limit)
    parts = max(1, len(trials) * sampled.items // BLOCK)
    blocks = zip(np.array_split(trials, parts), np.array_split(levels, parts), strict=True)
    return np.concatenate(
        [_bets(task, sampled.losses(setting, block), level) for block, level in blocks]
    )


def _bets(task: Task, losses: Floats, levels: Floats) -> Floats:
    items = losses.shape[1]
    beginning = losses[:, : max(1, items // BEGINNING)]
    found = betting_p_value(beginning, task.limit, task.alpha, items=items)
    open_ = found > levels
    if open_.any():
        found[open_] = betting_p_value(losses[open_], task.limit, task.alpha)
    return found


def chosen_by_mean(task: Task, sampled: Sampled) -> Ints:
    """Return the cheapest setting whose mean on the calibration set is within the limit."""
    within = sampled.means <= task.limit
    last = within.shape[1] - 1 - within[:, ::-1].argmax(axis=1)
    return np.where(within.any(axis=1), last, BASE)


def violated(task: Task, chosen: Ints) -> float:
    """Return the share of trials in which the chosen setting truly loses more than the limit."""
    truths = np.append(task.world.truths, 0.0)  # `BASE` indexes the last entry
    return float((truths[chosen] > task.limit).mean())
