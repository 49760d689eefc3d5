"""Suite `plans`: how long a search takes, and whether what it finds is faster than each part alone.

The search is over every draft source, depth and cache method and the number formats that are
allowed, on 300 items of four kinds of text, written into a file as a user would. The plans are for
`edit` and `chat`, once in the base's number format alone and once with the others allowed; each is
run beside the base on unseen items, and so is the cheapest setting of every single method that
keeps to the limit on the search's items. The long search is then made once more with a certificate:
told is what certifying takes beside searching.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from rheostat.bench.result import envelope
from rheostat.engines.base import Sampling
from rheostat.engines.cache_folder import cache_folder
from rheostat.engines.load import load_engine
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.durable_files import json_lines
from rheostat.stages.goal import Goal
from rheostat.stages.losses import BATCH, base_samples
from rheostat.stages.material import Material
from rheostat.stages.plan import planned
from rheostat.stages.search_journal import SearchJournal
from rheostat.stages.settings import ready
from rheostat.stages.side_by_side import side_by_side
from rheostat.workloads.items import request_line
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rheostat.bench.journal import Journal
    from rheostat.engines.base import Engine
    from rheostat.stages.losses import LossKind, Sample

SEED = 500000
LIMIT = 0.05
KIND: LossKind = "disagree"
FORMATS = ("gguf", "bfloat16")
MIXED = ("edit", "copy", "summarise", "chat")
SEARCHED = 300
"""Items of the search whose time is told."""
CONFIDENCE = 0.95
SHORT = 64
"""New tokens of its answers."""
WORKLOADS = ("edit", "chat")
ITEMS = 40
"""Items of each part that the plans are made and measured on."""
LONG = 128
COMPARED = 16
"""Of the unseen items, those on which single methods run beside the base."""


def bench_plans(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Search, plan, and hold plans against single methods."""
    engine = load_engine("smollm2", progress=say)
    folder = cache_folder() / "bench-plans"
    folder.mkdir(parents=True, exist_ok=True)
    mixed = _mixed(folder)
    searched = journal.part("search", partial(_searched, engine, mixed, folder, say))
    certified = journal.part("certified", partial(_certified, engine, mixed, folder, say))
    cells = [
        journal.part(
            f"{workload} {formats}",
            partial(plan_cell, engine, workload, formats, folder, say),
        )
        for workload in WORKLOADS
        for formats in ((), FORMATS)
    ]
    question = "does one plan of all methods beat each of them, and how long is it searched for?"
    return envelope("plans", question, seed=SEED) | {
        "limit": LIMIT,
        "loss": KIND,
        "search": searched,
        "certified": certified,
        "cells": cells,
    }


def _mixed(folder: Path) -> str:
    """Write the items of all kinds of text into a file; return its path."""
    path = folder / "mixed.jsonl"
    items = [item for name in MIXED for item in load_workload(name, seed=SEED).items]
    path.write_text("".join(f"{request_line(item)}\n" for item in items), encoding="utf-8")
    return str(path)


def _searched(
    engine: Engine, workload: str, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Search on many items; a stopped search goes on, and its seconds are those of all parts."""
    path = folder / "search.jsonl"
    before = sum(line["seconds"] for line in lines_of(path))
    start = time.perf_counter()
    material = _material(engine, workload, path, items=SEARCHED, tokens=SHORT, formats=FORMATS)
    plan = planned(material, Goal(aim="max_loss", limit=LIMIT, loss=KIND), say)
    seconds = seconds_of(path, len(material.parts["calibration"].items))
    # what is not in the journal, above all pricing, is done again by a search that goes on
    rest = time.perf_counter() - start - (sum(seconds.values()) - before)
    seconds |= {"rest": rest, "search": seconds["answers"] + seconds["losses"] + rest}
    return {
        "items": len(material.samples("calibration", say)),
        "new_tokens": SHORT,
        "methods": sorted({m["name"] for p in plan.predicted["tried"] for m in p["methods"]}),
        "settings": len(plan.predicted["tried"]),
        "measured": _measured_items(plan),
        "seconds": seconds,
        "plan": _methods(plan.methods),
        "predicted": plan.predicted["price_ratio"],
        "loss": plan.measured["loss"],
    }


def _material(  # noqa: PLR0913  # what a plan is made from
    engine: Engine,
    workload: str,
    journal: Path,
    *,
    items: int,
    tokens: int,
    formats: Sequence[str],
    certifies: LossKind | None = None,
) -> Material:
    return Material(
        engine,
        workload,
        sampling=Sampling(max_new_tokens=tokens),
        seed=SEED,
        items=items,
        journal=SearchJournal(journal),
        precisions=formats,
        certifies=certifies,
    )


def _certified(
    engine: Engine, workload: str, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Search on many items for a certified plan; what the search has measured is taken from it."""
    path, sizes = folder / "search.jsonl", {"items": SEARCHED, "tokens": SHORT}
    material = _material(engine, workload, path, formats=FORMATS, certifies=KIND, **sizes)
    goal = Goal(aim="max_loss", limit=LIMIT, loss=KIND, confidence=CONFIDENCE)
    plan = planned(material, goal, say)
    spent = plan.measured["spent"]
    steps = plan.certificate["path"] if plan.certificate else plan.measured["path"]
    return {
        "confidence": CONFIDENCE,
        "items": len(material.parts["test"].items),
        "opened": plan.certificate["data"]["size"] if plan.certificate else None,
        "tested": sum("p_value" in step for step in steps),
        "path": len(steps),
        "seconds": spent,
        "share": spent["certification"] / spent["search"],
        "plan": _methods(plan.methods),
        "predicted": plan.predicted["price_ratio"],
        "loss": plan.measured["loss"],
    }


def _measured_items(plan: Plan) -> dict[str, int]:
    """Return how many settings with a loss were measured on how many items."""
    alone = [p for p in plan.predicted["tried"] if p["kind"] in {"alone", "together"}]
    found: dict[str, int] = {}
    for items in sorted({p["items"] for p in alone}):
        found[str(items)] = sum(p["items"] == items for p in alone)
    return found


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return a journal's measurements."""
    return json_lines(path)[1:]


def seconds_of(path: Path, items: int) -> dict[str, float]:
    """Return what a search's journal says that measuring took, by what was measured.

    Args:
        path: the journal.
        items: of the part that is searched on.
    """
    found = {"answers": 0.0, "losses": 0.0, "unseen": 0.0}
    batches = -(-items // BATCH)  # which come before those of unseen items
    for line in lines_of(path):
        kind = "losses" if " on items " in line["about"] else "unseen"
        if line["about"].startswith("the base answers") and batches > 0:
            kind, batches = "answers", batches - 1
        found[kind] += line["seconds"]
    return found


def plan_cell(
    engine: Engine,
    workload: str,
    formats: Sequence[str],
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Make a plan and run it, and each single method's best, beside the base on unseen items."""
    path = folder / f"{workload}.jsonl"
    material = _material(engine, workload, path, items=ITEMS, tokens=LONG, formats=formats)
    plan = planned(material, Goal(aim="max_loss", limit=LIMIT, loss=KIND), say)
    test = material.parts["test"]
    samples = base_samples(engine, test, material.sampling, say, material.journal)[:COMPARED]
    compared = {}
    for name, settings in singles(plan).items():
        single = ready(Plan(model=engine.model, methods=settings), engine)
        run = partial(_beside, engine, single, samples, material.sampling, say)
        key = ["single", workload, [s.to_json() for s in settings], test.digest]
        compared[name] = material.journal.part(key, run, about=f"{name} beside the base")
    return {
        "workload": workload,
        "formats": list(formats),
        "plan": _methods(plan.methods),
        "why": list(plan.why),
        "predicted": plan.predicted["price_ratio"],
        "measured": dict(plan.measured),
        "singles": compared,
        "tried": len(plan.predicted["tried"]),
    }


def _beside(
    engine: Engine,
    plan: Plan,
    samples: Sequence[Sample],
    sampling: Sampling,
    say: Callable[[str], None],
) -> dict[str, Any]:
    return side_by_side(engine, plan, samples, sampling, say).to_json()


def singles(plan: Plan) -> dict[str, tuple[Setting, ...]]:
    """Return each method's cheapest setting, by itself, that keeps to the limit when searched."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in plan.predicted["tried"]:
        if len(entry["methods"]) != 1 or entry["loss_interval"][1] > LIMIT:
            continue
        (method,) = entry["methods"]
        known = found.get(method["name"])
        if known is None or entry["price_ratio"] < known["price_ratio"]:
            found[method["name"]] = entry
    return {name: (_setting(entry["methods"][0]),) for name, entry in found.items()}


def _setting(data: Mapping[str, Any]) -> Setting:
    return Setting(name=data["name"], dial=data["dial"], params=data["params"])


def _methods(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    return [{"name": s.name, "dial": s.dial, "params": dict(s.params)} for s in settings]
