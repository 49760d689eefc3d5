"""The main job from end to end: profile, plan, run, report, on the embedded model."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from rheostat.engines.base import Sampling
from rheostat.engines.cache_folder import whole_file
from rheostat.engines.load import load_engine
from rheostat.errors import OutputError
from rheostat.kernel.plan import Plan
from rheostat.stages.goal import checked_goal
from rheostat.stages.material import Material
from rheostat.stages.plan import planned
from rheostat.stages.profile import make_profile
from rheostat.stages.report import write_report
from rheostat.stages.run import run
from rheostat.workloads.items import write_requests
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = "smollm2"
WORKLOAD = "edit"
ITEMS = 4
REQUESTS = 8
NEW_TOKENS = 96
SEED = 1
MAX_LOSS = 0.05


def run_demo(
    out: Path, *, threads: int | None = None, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run the main job and return its summary, the report's with the time of each stage.

    Writes `profile.json`, two plans, three runs and `report.html` into the folder; what is there
    already from an interrupted demo is used, not repeated.
    """
    say = progress or _silent
    clock = _Clock()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"`{out}` cannot be made: {error.strerror}") from error
    engine = load_engine(MODEL, threads=threads, progress=say)
    clock.lap("load")
    profile = out / "profile.json"
    if not profile.exists():
        _write(profile, make_profile(engine, workload=WORKLOAD, progress=say))
    clock.lap("profile")
    goals = {
        "lossless": checked_goal(lossless=True),
        f"loss-{MAX_LOSS:g}": checked_goal(max_loss=MAX_LOSS, loss="disagree"),
    }
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    material = Material(engine, WORKLOAD, sampling=sampling, items=ITEMS, seed=SEED)
    plans = {"base": Plan(model=MODEL, digest=engine.digest, dtype=engine.dtype)}
    for label, goal in goals.items():
        path = out / f"{label}.plan.json"
        if not path.exists():
            plan = planned(material, goal, lambda text, label=label: say(f"plan {label}: {text}"))  # type: ignore[misc]  # bound now
            _write(path, plan.to_json())
        plans[label] = Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    clock.lap("plan")
    requests = out / "requests.jsonl"
    test = load_workload(WORKLOAD, part="test", seed=SEED).items
    write_requests(requests, test[ITEMS : ITEMS + REQUESTS])
    folders = []
    for label, plan in plans.items():
        folders.append(out / label)
        run(
            plan,
            requests,
            folders[-1],
            sampling=sampling,
            engine=engine,
            label=label,
            progress=lambda text, label=label: say(f"run {label}: {text}"),  # type: ignore[misc]  # bound now
        )
    clock.lap("run")
    summary = write_report(folders, out / "report.html", progress=say)
    clock.lap("report")
    return summary | {"stage_seconds": clock.laps}


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 1)
        self._last = now


def _write(path: Path, data: dict[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _silent(_: str) -> None:
    return
