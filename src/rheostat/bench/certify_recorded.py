"""Losses of real items under real settings: a population to draw from whose mean is known."""

from __future__ import annotations

from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING, Any

from rheostat.engines.base import Sampling
from rheostat.engines.torch_load import load_torch
from rheostat.stages.losses import Loss, base_samples, evaluator
from rheostat.stages.pricing import Pricing
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.race import FAR_BEYOND
from rheostat.stages.search import Point, setting_name
from rheostat.stages.space import space_of
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.bench.journal import Journal
    from rheostat.kernel.seams import Installed
    from rheostat.stages.space import Space

WORKLOAD = "edit"
ITEMS = 32
NEW_TOKENS = 32
FAR = 0.05
"""Settings are recorded until they lose far more than this."""
SEED = 500000


def recorded_losses(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Return the losses `disagree` of every depth setting, from the dearest to the cheapest.

    Settings are measured in the same order every time, and each is kept once it is measured.
    """
    engine = load_torch("smollm2", progress=say)
    items = load_workload(WORKLOAD, limit=ITEMS, seed=SEED)
    samples = base_samples(engine, items, Sampling(max_new_tokens=NEW_TOKENS), say)
    measured = evaluator("disagree", engine, items, samples, "all")
    numbers = count(1)

    def evaluate(decision: Installed) -> Loss:
        name = f"recorded losses, setting {next(numbers)}"
        kept = journal.part(name, lambda: asdict(measured(decision)))
        return Loss(**kept | {"values": tuple(kept["values"])})

    profile = cached_profile(engine) or make_profile(engine, progress=say)
    points = _depth_points(Pricing(engine, samples), evaluate, space_of(engine, profile), say)
    points.sort(key=lambda point: -point.price_ratio)
    rows = zip(*(point.losses for point in points), strict=True)
    return {
        "model": engine.model,
        "workload": WORKLOAD,
        "items": len(samples),
        "settings": [point.name for point in points],
        "truths": [point.loss for point in points],
        "losses": [list(row) for row in rows],
    }


def _depth_points(
    pricing: Pricing,
    evaluate: Callable[[Installed], Loss],
    space: Space,
    say: Callable[[str], None],
) -> list[Point]:
    """Measure every depth method along its dial, on all items, until it loses far too much."""
    points = []
    for chain in space.chains:
        for option in chain.options if chain.seam == "depth" else ():
            say(f"measuring what {setting_name(option)} loses")
            loss = evaluate(pricing.installed((option,)))
            ratio = pricing.ratio(pricing.priced((option,), loss.mlp_share))
            points.append(
                Point(settings=(option,), price_ratio=ratio, loss=loss.mean, losses=loss.values)
            )
            if loss.mean > FAR_BEYOND * FAR:
                break
    return points
