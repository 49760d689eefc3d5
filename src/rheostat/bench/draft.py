"""Suite `draft`: draft sources against the base and against a fixed lookup, per kind of text.

Copy-friendly text must be earned: on `edit` and `copy` only answers count that hold no repeated
8-gram loop and overlap their reference by half; on `chat` every answer counts.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rheostat.bench.contest import contested, decision_of
from rheostat.bench.result import envelope
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.plan import Setting
from rheostat.stages.report_summary import bootstrap_ratio
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine

SEED = 500000
NEW_TOKENS = 128
ITEMS: Mapping[str, Mapping[str, int]] = {
    "bfloat16": {"edit": 50, "copy": 44, "summarise": 8, "chat": 10},
    "float32": {"edit": 6, "copy": 6, "summarise": 3, "chat": 4},
}
"""Items of each workload; float32 is shown on fewer, and claims nothing."""
CLAIMING = "bfloat16"
FEWEST = 30
"""Counting answers below which no claim of speed is made for copy-friendly text."""
CONTESTANTS: Mapping[str, Setting | None] = {
    "base": None,
    "copyspec": Setting(name="copyspec", dial=1.0),
    "suffix": Setting(name="suffix", dial=1.0),
    "fixed_lookup": Setting(name="fixed_lookup", dial=1.0),
}


def bench_draft(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Answer every item with every contestant in turn, in both formats."""
    result = envelope("draft", "do drafts pay, and never cost?", seed=SEED)
    cells = []
    for dtype, workloads in ITEMS.items():
        engine = load_torch("smollm2", dtype=dtype, threads=machine().cores, progress=say)
        for workload, limit in workloads.items():
            cells.append(draft_cell(engine, workload, limit, say, journal))
        del engine
        gc.collect()
    return result | {
        "new_tokens": NEW_TOKENS,
        "threads": torch.get_num_threads(),
        "cells": cells,
        "verdicts": {name: draft_verdict(cells, name) for name in ("copyspec", "suffix")},
    }


def draft_cell(
    engine: TorchEngine,
    workload: str,
    limit: int,
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    """Let every contestant answer the items of one workload, each of them first in turn."""
    items = load_workload(workload, part="test", limit=limit, seed=SEED).items
    own = {n: decision_of(engine, *([one] if one else [])) for n, one in CONTESTANTS.items()}
    answered = []
    for i, item in enumerate(items):
        name = f"{engine.dtype} {workload}"
        say(f"{name}: item {i + 1} of {len(items)}")
        answers = partial(contested, engine, item, own, first=i, new_tokens=NEW_TOKENS)
        answered.append(journal.part(f"{name}, {item.id}", answers))
    counted = [answers for answers in answered if answers["base"]["counts"]]
    enough = len(counted) >= FEWEST and 2 * len(counted) >= len(items)
    return {
        "dtype": engine.dtype,
        "workload": workload,
        "items": len(items),
        "counted": len(counted),
        "claim": engine.dtype == CLAIMING
        and bool(counted)
        and (workload not in ("edit", "copy") or enough),
        "base_tokens_per_second": _total(counted, "base", "tokens")
        / max(_total(counted, "base", "seconds"), 1e-9),
        **{name: _against(answered, counted, name) for name in CONTESTANTS if name != "base"},
    }


Answered = Mapping[str, Mapping[str, Any]]
"""What every contestant made of an item."""


def _total(answered: Sequence[Answered], name: str, what: str) -> float:
    return float(sum(answers[name][what] for answers in answered))


def _against(
    answered: Sequence[Answered], counted: Sequence[Answered], name: str
) -> dict[str, Any]:
    """Compare with the base on the items that count; identity is over all items."""
    slow, fast = (np.array([a[n]["seconds"] for a in counted]) for n in ("base", name))
    interval = bootstrap_ratio(slow, fast)

    def share(what: str, whole: float) -> float | None:
        return _total(counted, name, what) / whole if whole else None

    return {
        "speed_ratio": float(slow.sum() / fast.sum()) if len(fast) else None,
        "speed_interval": None if interval is None else list(interval),
        "identical_answers": _total(answered, name, "same") / len(answered),
        "tokens_per_step": share("tokens", _total(counted, name, "steps")),
        "acceptance": share("accepted", _total(counted, name, "proposed")),
        "deciding_share": share("deciding", float(fast.sum())),
        "predicted_ratio": _total(counted, "base", "price") / _total(counted, name, "price")
        if counted
        else None,
    }


def draft_verdict(cells: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """A draft source beats the fixed lookup when it is faster in most cells and never costs."""
    ratios = [
        (c[name]["speed_ratio"], c["fixed_lookup"]["speed_ratio"])
        for c in cells
        if c["claim"] and c[name]["speed_ratio"]
    ]
    better = sum(own > other for own, other in ratios)
    worst = min((own for own, _ in ratios), default=0.0)
    beats = bool(ratios) and better > len(ratios) / 2 and worst >= 0.95
    return {
        "beats_controls": beats,
        "evidence": f"faster than the fixed lookup in {better} of {len(ratios)} cells; "
        f"slowest cell {worst:.2f} of the base's speed",
    }
