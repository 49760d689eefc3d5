"""Suite `draft`: copied drafts against the base and against a fixed lookup, per kind of text.

Copy-friendly text must be earned: on `edit` and `copy` only answers count that hold no repeated
8-gram loop and overlap their reference by half; on `chat` every answer counts.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rheostat.bench.result import envelope
from rheostat.catalog import installed as install
from rheostat.engines.base import Output, Request, Sampling
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Installed
from rheostat.stages.report_summary import bootstrap_ratio
from rheostat.workloads.counting import counts
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.engines.torch_engine import TorchEngine

SEED = 500000
NEW_TOKENS = 128
ITEMS: Mapping[str, Mapping[str, int]] = {
    "bfloat16": {"edit": 54, "copy": 46, "summarise": 12, "chat": 12},
    "float32": {"edit": 12, "copy": 12, "summarise": 4, "chat": 8},
}
"""Items of each workload; float32 is shown on fewer, and claims nothing."""
FEWEST = 30
"""Counting answers below which no claim of speed is made for copy-friendly text."""
CONTESTANTS: Mapping[str, Setting | None] = {
    "base": None,
    "copyspec": Setting(name="copyspec", dial=1.0),
    "fixed_lookup": Setting(name="fixed_lookup", dial=1.0),
}


def bench_draft(say: Callable[[str], None]) -> dict[str, Any]:
    """Answer every item with every contestant in turn, in both formats."""
    result = envelope("draft", "do copied drafts pay, and never cost?", seed=SEED)
    cells = []
    for dtype, workloads in ITEMS.items():
        engine = load_torch("smollm2", dtype=dtype, threads=machine().cores, progress=say)
        for workload, limit in workloads.items():
            cells.append(draft_cell(engine, workload, limit, say))
        del engine
        gc.collect()
    return result | {
        "new_tokens": NEW_TOKENS,
        "threads": torch.get_num_threads(),
        "cells": cells,
        "verdicts": {"copyspec": draft_verdict(cells)},
    }


def draft_cell(
    engine: TorchEngine, workload: str, limit: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Let every contestant answer the items of one workload, each of them first in turn."""
    items = load_workload(workload, part="test", limit=limit, seed=SEED).items
    answers: dict[str, list[Output]] = {name: [] for name in CONTESTANTS}
    for i, item in enumerate(items):
        say(f"{engine.dtype} {workload}: item {i + 1} of {len(items)}")
        names = list(CONTESTANTS)
        for name in names[i % 3 :] + names[: i % 3]:
            answers[name].append(_answer(engine, item, CONTESTANTS[name]))
    counted = [
        i
        for i, (item, output) in enumerate(zip(items, answers["base"], strict=True))
        if item.reference is None or counts(output.text, output.token_ids, item.reference)
    ]
    return {
        "dtype": engine.dtype,
        "workload": workload,
        "items": len(items),
        "counted": len(counted),
        "claim": bool(counted)
        and (
            workload not in ("edit", "copy")
            or (len(counted) >= FEWEST and 2 * len(counted) >= len(items))
        ),
        "base_tokens_per_second": _rate([answers["base"][i] for i in counted]),
        **{
            name: _against(answers["base"], answers[name], counted)
            for name in CONTESTANTS
            if name != "base"
        },
    }


def _answer(engine: TorchEngine, item: Request, setting: Setting | None) -> Output:
    plan = Plan(model=engine.model, methods=(setting,) if setting else ())
    decision = install(plan, engine.shape, engine.card.offers) if setting else Installed()
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    return next(iter(engine.generate([item], sampling, installed=decision)))


def _rate(outputs: Sequence[Output]) -> float:
    seconds = sum(o.cost.seconds for o in outputs)
    return sum(len(o.token_ids) for o in outputs) / seconds if seconds else 0.0


def _against(
    base: Sequence[Output], own: Sequence[Output], counted: Sequence[int]
) -> dict[str, Any]:
    """Compare on the items that count; identity is over all items."""
    slow, fast = (np.array([o[i].cost.seconds for i in counted]) for o in (base, own))
    traces = [own[i].trace for i in counted]
    proposed = sum(t.proposed for t in traces)
    interval = bootstrap_ratio(slow, fast)
    return {
        "speed_ratio": slow.sum() / fast.sum() if len(fast) else None,
        "speed_interval": None if interval is None else list(interval),
        "identical_answers": sum(a.token_ids == b.token_ids for a, b in zip(base, own, strict=True))
        / len(base),
        "tokens_per_step": sum(len(own[i].token_ids) for i in counted)
        / max(sum(t.steps for t in traces), 1),
        "acceptance": sum(t.accepted for t in traces) / proposed if proposed else None,
        "deciding_share": sum(t.seconds_deciding for t in traces) / fast.sum()
        if len(fast)
        else None,
        "predicted_ratio": sum(base[i].cost.price for i in counted)
        / sum(own[i].cost.price for i in counted)
        if counted
        else None,
    }


def draft_verdict(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Copied drafts beat the fixed lookup when they are faster in all cells taken together."""
    ratios = [
        (c["copyspec"]["speed_ratio"], c["fixed_lookup"]["speed_ratio"])
        for c in cells
        if c["claim"] and c["copyspec"]["speed_ratio"]
    ]
    better = sum(own > other for own, other in ratios)
    worst = min((own for own, _ in ratios), default=0.0)
    beats = bool(ratios) and better > len(ratios) / 2 and worst >= 0.95
    return {
        "beats_controls": beats,
        "evidence": f"faster than the fixed lookup in {better} of {len(ratios)} cells; "
        f"slowest cell {worst:.2f} of the base's speed",
    }
