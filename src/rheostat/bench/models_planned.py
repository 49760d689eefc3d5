"""A profile and a lossless plan of a real second model, end to end, for the suite `models`.

What planning took, what the plan predicts, and what it measured on items that the search did not
see. The model has no chat template, so its workload is running text.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rheostat.engines.torch_load import load_torch
from rheostat.stages.plan import make_plan
from rheostat.stages.profile import make_profile

if TYPE_CHECKING:
    from collections.abc import Callable

WORKLOAD = "prose"
ITEMS = 4
NEW_TOKENS = 32


def planned(name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Profile a model, plan without loss, and return what was found."""
    engine = load_torch(name, threads=1, progress=say)
    profile = make_profile(engine, workload=WORKLOAD, progress=say)
    start = time.perf_counter()
    plan = make_plan(
        engine, WORKLOAD, lossless=True, items=ITEMS, max_new_tokens=NEW_TOKENS, progress=say
    )
    seconds = time.perf_counter() - start
    measured = ("items", "exact_match", "price_ratio", "seconds_ratio", "seconds_interval")
    return {
        "model": name,
        "dtype": engine.dtype,
        "workload": WORKLOAD,
        "new_tokens": NEW_TOKENS,
        "profile_seconds": profile["seconds"],
        "copy_rate": profile["copy_rate"][WORKLOAD],
        "plan_seconds": seconds,
        "methods": [{"name": s.name, "dial": s.dial} for s in plan.methods],
        "predicted_price_ratio": plan.predicted["price_ratio"],
        "measured": {key: plan.measured[key] for key in measured},
    }
