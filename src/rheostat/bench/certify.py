"""Suite `certify`: do certificates hold, how often are good settings certified, what fails?

Validity: settings with known true losses are searched on one sample and certified on another;
counted is how often the setting that is chosen truly loses more than the limit. In the hardest
world every setting is just over the limit; in the other, losses grow as prices fall, some settings
are useless, and there is much to choose from. Power: one setting whose true loss is a quarter of
the limit. Looks: a confidence sequence is looked at after every item.
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
    p_values,
    paths,
    violated,
)
from rheostat.bench.certify_worlds import LAWS, Drawn, Recorded
from rheostat.bench.result import envelope
from rheostat.kernel.certify.betting import confidence_sequence
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
POWER_ITEMS = 500
LOOKS = 500
LOOK_TRIALS = 1_000


def bench_certify(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Judge every bound in every world."""
    result = envelope("certify", "do certified plans hold what they say?", seed=SEED)
    table = journal.part("recorded losses", partial(recorded_losses, say))
    cells = []
    for task, at in tasks(np.asarray(table["losses"])):
        name = f"{at['losses']}, {at['world']}, {at['methods']} settings, {at['items']} items"
        say(f"validity: {name}, limit {at['limit']:.3f}")
        measure = partial(validity_cell, task, at, trials=TRIALS)
        cells.append(journal.part(f"{name}, {at['limit']}", measure))
    say("power and repeated looks")
    power = [
        journal.part(f"power {losses}", partial(power_cell, losses, trials=TRIALS))
        for losses in LAWS
    ]
    looks = journal.part("looks", partial(looks_cell, trials=LOOK_TRIALS))
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
    for losses, limit, methods, items in product(LAWS, LIMITS, METHODS, SIZES):
        at = {"losses": losses, "limit": limit, "methods": methods, "items": items}
        for world, truths in truths_of(losses, limit, methods).items():
            laws = np.stack([LAWS[losses](truth) for truth in truths])
            task = Task(world=Drawn(laws), limit=to_unit(losses, limit), alpha=ALPHA)
            yield task, at | {"world": world}
    recorded = Recorded(table)
    for limit, items in product(LIMITS, SIZES):
        # the hardest limit for a table is just under the loss of one of its settings
        hardest = float(min(t for t in recorded.truths if t >= min(limit, recorded.truths.max())))
        at = {"losses": "recorded", "limit": hardest - OVER, "methods": table.shape[1]}
        task = Task(world=recorded, limit=hardest - OVER, alpha=ALPHA)
        yield task, at | {"items": items, "world": "recorded"}


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
    rng = np.random.default_rng([SEED, at["items"], at["methods"], int(1000 * at["limit"])])
    path = paths(task, trials, rng)
    sampled = task.world.sample(trials, at["items"], rng)
    rules = {
        name: judged(task, chosen_by_certificate(task, BOUNDS[name], path, sampled))
        for name in SUITABLE[at["losses"]]
    }
    rules[NAIVE] = judged(task, chosen_by_mean(task, sampled))
    return {**at, "trials": trials, "rules": rules}


def judged(task: Task, chosen: NDArray[np.int64]) -> dict[str, Any]:
    """Return how often the claim was wrong, and how often a dial was turned at all."""
    share = violated(task, chosen)
    return {
        "violated": share,
        "standard_error": math.sqrt(ALPHA * (1 - ALPHA) / len(chosen)),
        "turned": float((chosen >= 0).mean()),
    }


def power_cell(losses: str, *, trials: int) -> dict[str, Any]:
    """Certify one setting that truly loses a quarter of the limit, and nothing else."""
    base, limit = to_unit(losses, 0.0), to_unit(losses, LIMITS[0])
    law = LAWS[losses](base + (limit - base) / 4)
    task = Task(world=Drawn(law[None]), limit=limit, alpha=ALPHA)
    sampled = task.world.sample(trials, POWER_ITEMS, np.random.default_rng([SEED, 1]))
    every = np.arange(trials)
    certified = {
        name: float((p_values(task, BOUNDS[name], sampled, 0, every) <= ALPHA).mean())
        for name in SUITABLE[losses]
    }
    return {"losses": losses, "items": POWER_ITEMS, "trials": trials, "certified": certified}


def looks_cell(*, trials: int) -> dict[str, Any]:
    """Look after every item: how often is the truth ever outside the bounds?"""
    rng = np.random.default_rng([SEED, 2])
    found: dict[str, Any] = {"items": LOOKS, "trials": trials}
    for losses, law in LAWS.items():
        world = Drawn(law(to_unit(losses, LIMITS[0]))[None])
        truth = float(world.truths[0])
        rows = world.sample(trials, LOOKS, rng).losses(0, np.arange(trials))
        bounds = [confidence_sequence(row, ALPHA) for row in rows]  # those of the best look
        width = float(np.mean([high - low for low, high in bounds]))
        sequence = float(np.mean([not low <= truth <= high for low, high in bounds]))
        found[losses] = {
            "sequence": sequence,
            "width": width,
            "repeated_intervals": float(np.mean(_ever_outside(rows, truth))),
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
        f"{strong} of {len(power)} kinds of loss are certified in at least 90 % of the trials "
        f"where the true loss is a quarter of the limit; {looked} of {len(sequences)} sequences "
        "hold under a look at every item",
    }
