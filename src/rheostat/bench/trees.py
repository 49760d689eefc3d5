"""Suite `trees`: does a draft that branches beat the best chain of the same sources?

Chain and tree answer the same items in turn, each of them first in turn. Prices and steps are
counted and without noise; seconds are measured. Identity is to the base.
"""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rheostat.bench.contest import answered, decision_of
from rheostat.bench.result import envelope
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.plan import Setting
from rheostat.stages.report_summary import bootstrap_ratio
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.base import Request
    from rheostat.engines.torch_engine import TorchEngine

SEED = 500000
NEW_TOKENS = 128
ITEMS: Mapping[str, int] = {"edit": 4, "copy": 4, "chat": 4}
BRANCHES = 3
_COPIES = Setting(name="copyspec", dial=1.0)
_CHAIN = Setting(name="suffix", dial=1.0)
_TREE = Setting(name="suffix", dial=1.0, params={"branches": BRANCHES})


class Pair(NamedTuple):
    """The same sources without and with branches."""

    chain: tuple[Setting, ...]
    tree: tuple[Setting, ...]


PAIRS: Mapping[str, Pair] = {
    "suffix": Pair((_CHAIN,), (_TREE,)),
    "copyspec + suffix": Pair((_COPIES, _CHAIN), (_COPIES, _TREE)),
}


def bench_trees(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Answer every item with every chain and tree in turn, in both formats."""
    result = envelope("trees", "does a draft that branches beat the best chain?", seed=SEED)
    cells = []
    for dtype in ("bfloat16", "float32"):
        engine = load_torch("smollm2", dtype=dtype, threads=machine().cores, progress=say)
        for workload, limit in ITEMS.items():
            items = load_workload(workload, part="test", limit=limit, seed=SEED).items
            cells += tree_cells(engine, workload, items, say, journal)
        del engine
        gc.collect()
    return result | {
        "new_tokens": NEW_TOKENS,
        "branches": BRANCHES,
        "threads": torch.get_num_threads(),
        "cells": cells,
    }


def tree_cells(
    engine: TorchEngine,
    workload: str,
    items: Sequence[Request],
    say: Callable[[str], None],
    journal: Journal,
) -> list[dict[str, Any]]:
    """Compare every pair on the items of one workload."""
    kept = []
    for i, item in enumerate(items):
        name = f"{engine.dtype} {workload}"
        say(f"{name}: item {i + 1} of {len(items)}")
        kept.append(journal.part(f"{name}, {item.id}", partial(_answers, engine, item, i)))
    return [
        {"dtype": engine.dtype, "workload": workload, "items": len(items), "sources": name}
        | _compared([answers[name] for answers in kept])
        for name in PAIRS
    ]


def _answers(engine: TorchEngine, item: Request, first: int) -> dict[str, Any]:
    """Let the base and every pair answer an item; return what is counted of each answer."""
    base = _answer(engine, item, ())
    found = {}
    for name, pair in PAIRS.items():
        kinds = ("chain", "tree") if first % 2 else ("tree", "chain")
        found[name] = {kind: _answer(engine, item, getattr(pair, kind)) for kind in kinds}
        found[name]["base"] = base
    return found


def _answer(engine: TorchEngine, item: Request, settings: tuple[Setting, ...]) -> dict[str, Any]:
    output = answered(engine, item, decision_of(engine, *settings), NEW_TOKENS)
    return {
        "token_ids": list(output.token_ids),
        "seconds": output.cost.seconds,
        "price": output.cost.price,
        "steps": output.trace.steps,
        "proposed": output.trace.proposed,
        "accepted": output.trace.accepted,
        "deciding": output.trace.seconds_deciding,
    }


def _compared(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a tree gains over a chain, and what both do beside the base."""
    chain, tree = (np.array([a[kind]["seconds"] for a in answers]) for kind in ("chain", "tree"))
    interval = bootstrap_ratio(chain, tree)
    return {
        "tree_over_chain": {
            "speed_ratio": float(chain.sum() / tree.sum()),
            "speed_interval": None if interval is None else list(interval),
            "predicted_ratio": _total(answers, "chain", "price") / _total(answers, "tree", "price"),
        },
        **{kind: _beside_the_base(answers, kind) for kind in ("chain", "tree")},
    }


def _beside_the_base(answers: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    tokens = sum(len(a[kind]["token_ids"]) for a in answers)
    proposed = _total(answers, kind, "proposed")
    return {
        "speed_ratio": _total(answers, "base", "seconds") / _total(answers, kind, "seconds"),
        "predicted_ratio": _total(answers, "base", "price") / _total(answers, kind, "price"),
        "identical_answers": sum(a[kind]["token_ids"] == a["base"]["token_ids"] for a in answers)
        / len(answers),
        "tokens_per_step": tokens / max(_total(answers, kind, "steps"), 1),
        "acceptance": _total(answers, kind, "accepted") / proposed if proposed else None,
        "deciding_share": _total(answers, kind, "deciding") / _total(answers, kind, "seconds"),
    }


def _total(answers: Sequence[Mapping[str, Any]], kind: str, what: str) -> float:
    return float(sum(a[kind][what] for a in answers))
