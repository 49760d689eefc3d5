"""Suite `certify`: do certificates hold, how often are good settings certified, what fails?

Validity: settings with known true losses are searched on one sample and certified on another;
counted is how often the setting that is chosen truly loses more than the limit. In the hardest
world every setting is just over the limit; in the other, losses grow as prices fall, some settings
are useless, and there is much to choose from. Power: one setting whose true loss is a quarter of
the limit, alone and among useless ones. Looks: a confidence sequence is looked at after every item.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.certify_recorded import recorded_losses
from rheostat.bench.certify_trials import (
    Task,
    chosen_by_certificate,
    chosen_by_mean,
    paths,
    violated,
)
from rheostat.bench.certify_worlds import LAWS, Drawn, Recorded
from rheostat.bench.result import envelope
from rheostat.kernel.certify.betting import confidence_sequence, refuted_after
from rheostat.kernel.certify.bounds import BOUNDS
from rheostat.kernel.certify.losses import Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.bench.journal import Journal

    Floats = NDArray[np.float64]

SEED = 800_000
TRIALS = 10_000
ALPHA = 0.05
LIMITS = (0.05, 0.2)
SIZES = (50, 200, 500, 2000)
METHODS = (1, 5, 20, 50)
OVER = 1e-6
"""How far over the limit the settings of the hardest world are."""
SUITABLE: Mapping[str, tuple[str, ...]] = {
    "0/1": ("binomial", "hoeffding_bentkus", "betting"),
    "shares": ("hoeffding_bentkus", "betting"),
    "nats": ("hoeffding_bentkus", "betting"),
    "recorded": ("hoeffding_bentkus", "betting"),
}
"""Which bounds are meant for which losses."""
NAIVE = "best on the calibration set"
USELESS = (0, 49)
"""Settings beside the good one that lose over twice the limit, half of them dearer than it."""
POWER_ITEMS = 500
LOOKS = 500
WIDTH_TRIALS = 100
"""Trials whose looks are judged at once; the first of them tell the width."""
HELD = 50_000_000
"""Most losses that are held in memory at once, a byte or so each."""


def bench_certify(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Judge every bound in every world."""
    result = envelope("certify", "do certified plans hold what they say?", seed=SEED)
    table = journal.part("recorded losses", partial(recorded_losses, say, journal))
    losses = np.asarray(table["losses"])
    cells = []
    for task, at in tasks(losses):
        name = f"{at['losses']}, {at['world']}, {at['methods']} settings, {at['items']} items"
        say(f"validity: {name}, limit {at['limit']:.3f}")
        measure = partial(validity_cell, task, at, trials=TRIALS)
        cells.append(journal.part(f"{name}, {at['limit']}", measure))
    power = []
    for task, at in power_tasks(losses):
        name = f"{at['losses']}, {at['useless']} useless, limit {at['limit']:.3f}"
        say(f"power: {name}")
        power.append(journal.part(f"power, {name}", partial(power_cell, task, at, trials=TRIALS)))
    say("repeated looks")
    looks = journal.part("looks", partial(looks_cell, trials=TRIALS))
    return result | {
        "alpha": ALPHA,
        "limits": list(LIMITS),
        "trials": TRIALS,
        "recorded": {key: value for key, value in table.items() if key != "losses"},
        "cells": cells,
        "power": power,
        "looks": looks,
        "verdict": certify_verdict(cells, power, looks),
    }


def tasks(table: Floats) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Yield every world with its limit, and what it is."""
    for losses, limit, methods in product(LAWS, LIMITS, METHODS):
        for world, truths in truths_of(losses, limit, methods).items():
            task = drawn(losses, limit, truths)
            for items in SIZES:
                at = {"losses": losses, "limit": limit, "methods": methods, "items": items}
                yield task, at | {"world": world}
    recorded = Recorded(table)
    for limit, items in product(LIMITS, SIZES):
        # the hardest limit for a table is just under the loss of one of its settings
        hardest = float(min(t for t in recorded.truths if t >= min(limit, recorded.truths.max())))
        at = {"losses": "recorded", "limit": hardest - OVER, "methods": table.shape[1]}
        task = Task(world=recorded, limit=hardest - OVER, alpha=ALPHA)
        yield task, at | {"items": items, "world": "recorded"}


def power_tasks(table: Floats) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Yield worlds with one setting of a quarter of the limit, and what they are."""
    for losses, limit, useless in product(LAWS, LIMITS, USELESS):
        base, highest = to_unit(losses, 0.0), to_unit(losses, limit)
        good, bad = base + (highest - base) / 4, base + 2.25 * (highest - base)
        at: dict[str, Any] = {"losses": losses, "limit": limit, "useless": useless}
        at["good"] = useless // 2
        truths = [bad] * at["good"] + [good] + [bad] * (useless - at["good"])
        yield drawn(losses, limit, truths), at
    for column in table.T:
        if 0.0 < column.mean() <= 0.25:
            limit = 4 * float(column.mean())
            at = {"losses": "recorded", "limit": limit, "useless": 0, "good": 0}
            yield Task(world=Recorded(column[:, None]), limit=limit, alpha=ALPHA), at


def drawn(losses: str, limit: float, truths: Sequence[float]) -> Task:
    """Return the task of certifying settings of these true losses, from dear to cheap."""
    world = Drawn.of(np.stack([LAWS[losses](truth) for truth in truths]))
    return Task(world=world, limit=to_unit(losses, limit), alpha=ALPHA)


def to_unit(losses: str, limit: float) -> float:
    """Return a limit on the scale [0, 1]."""
    return Range(-1.0, 1.0).limit_to_unit(limit) if losses == "nats" else limit


def truths_of(losses: str, limit: float, methods: int) -> dict[str, list[float]]:
    """Return true losses on [0, 1], from the dearest setting to the cheapest."""
    base, highest = to_unit(losses, 0.0), to_unit(losses, limit)
    excess = np.linspace(0.2, 2.2, methods) if methods > 1 else np.array([0.9])
    excess[4::5] = 2.25  # every fifth setting is useless
    ladder = base + (highest - base) * excess
    return {"just over": [highest + OVER] * methods, "ladder": ladder.tolist()}


def validity_cell(task: Task, at: Mapping[str, Any], *, trials: int) -> dict[str, Any]:
    """Choose a setting in every trial, by every bound and by the calibration mean."""
    chosen = chosen_by_rule(task, at, trials=trials)
    return {**at, "trials": trials, "rules": {n: judged(task, own) for n, own in chosen.items()}}


def chosen_by_rule(
    task: Task, at: Mapping[str, Any], *, trials: int
) -> dict[str, NDArray[np.int64]]:
    """Return what every rule chooses on the same items, [trials]; some trials at a time."""
    settings, items = len(task.world.truths), at["items"]
    rng = np.random.default_rng([SEED, items, settings, int(1000 * at["limit"])])
    size = max(1, min(trials, HELD // (settings * items)))
    parts = []
    for some in [size] * (trials // size) + [trials % size] * (trials % size > 0):
        path = paths(task, some, rng)
        sampled = task.world.sample(some, items, rng)
        own = {
            name: chosen_by_certificate(task, BOUNDS[name], path, sampled)
            for name in SUITABLE[at["losses"]]
        }
        parts.append(own | {NAIVE: chosen_by_mean(task, sampled)})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def judged(task: Task, chosen: NDArray[np.int64]) -> dict[str, Any]:
    """Return how often the claim was wrong, and how often a dial was turned at all."""
    share = violated(task, chosen)
    return {
        "violated": share,
        "standard_error": math.sqrt(ALPHA * (1 - ALPHA) / len(chosen)),
        "turned": float((chosen >= 0).mean()),
    }


def power_cell(task: Task, at: Mapping[str, Any], *, trials: int) -> dict[str, Any]:
    """Count how often the good setting is the one that is certified."""
    chosen = chosen_by_rule(task, {**at, "items": POWER_ITEMS}, trials=trials)
    shares = {name: float((own == at["good"]).mean()) for name, own in chosen.items()}
    del shares[NAIVE]
    about = {key: value for key, value in at.items() if key != "good"}
    return {**about, "items": POWER_ITEMS, "trials": trials, "certified": shares}


def looks_cell(*, trials: int) -> dict[str, Any]:
    """Look after every item: how often is the truth ever outside the bounds?"""
    rng = np.random.default_rng([SEED, 2])
    found: dict[str, Any] = {"items": LOOKS, "trials": trials}
    for losses in LAWS:
        world = drawn(losses, LIMITS[0], [to_unit(losses, LIMITS[0])]).world
        truth = float(world.truths[0])
        outside: list[Any] = []
        repeated: list[Any] = []
        widths: list[float] = []
        for some in [WIDTH_TRIALS] * (trials // WIDTH_TRIALS):
            rows = world.sample(some, LOOKS, rng).losses(0, np.arange(some))
            over = refuted_after(rows, truth, ALPHA) > 0
            outside.append(over | (refuted_after(1.0 - rows, 1.0 - truth, ALPHA) > 0))
            repeated.append(_ever_outside(rows, truth))
            if not widths:
                widths = [high - low for low, high in (confidence_sequence(r, ALPHA) for r in rows)]
        found[losses] = {
            "sequence": float(np.mean(outside)),
            "width": float(np.mean(widths)),
            "repeated_intervals": float(np.mean(repeated)),
        }
    return found


def _ever_outside(rows: Floats, truth: float) -> NDArray[np.bool_]:
    """Return whether an interval for one look, mean +- 1.96 standard errors, ever misses."""
    n = np.arange(1, rows.shape[1] + 1)
    means = np.cumsum(rows, axis=1) / n
    spread = np.sqrt(np.maximum(np.cumsum(rows**2, axis=1) / n - means**2, 0) / n)
    outside = np.abs(means - truth) > 1.96 * spread
    return np.asarray(outside[:, 29:].any(axis=1))


def certify_verdict(
    cells: Sequence[Mapping[str, Any]],
    power: Sequence[Mapping[str, Any]],
    looks: Mapping[str, Any],
) -> dict[str, Any]:
    """Every bound holds in every cell, the calibration mean does not; the best bound has power."""
    own = [rule for cell in cells for name, rule in cell["rules"].items() if name in BOUNDS]
    held = sum(rule["violated"] <= ALPHA + 2 * rule["standard_error"] for rule in own)
    naive = max((cell["rules"][NAIVE]["violated"] for cell in cells), default=0.0)
    strong = sum(max(cell["certified"].values()) >= 0.9 for cell in power)
    sequences = [looks[losses] for losses in LAWS]
    allowed = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / looks["trials"])
    looked = sum(found["sequence"] <= allowed for found in sequences)
    return {
        "holds": bool(own)
        and held == len(own)
        and strong == len(power)
        and looked == len(sequences)
        and naive > ALPHA,
        "evidence": f"of {len(own)} bounds in {len(cells)} worlds {held} hold their claim; the "
        f"best on the calibration set is wrong in up to {naive:.0%} of the trials; "
        f"{strong} of {len(power)} settings that truly lose a quarter of the limit are certified "
        f"in at least 90 % of the trials; {looked} of {len(sequences)} sequences "
        "hold under a look at every item",
    }
