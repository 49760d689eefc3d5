"""Suite `numerics`: where answers part, between number formats and within one.

Every format answers prompts one at a time and several together, greedily. Within a format, answers
part where a pass of another width rounds otherwise; between formats, where their numbers differ.
For each pair the first token that differs is told, and how near the two largest logits were there.
"""

from __future__ import annotations

import gc
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from rheostat.bench.prove import Prover, margin_where_parted
from rheostat.bench.result import envelope
from rheostat.engines.torch_load import DTYPES, load_torch
from rheostat.kernel.seams import Installed
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.bench.prove import Written
    from rheostat.engines.base import Request
    from rheostat.engines.torch_engine import TorchEngine

SEED = 500000
WORKLOADS = ("edit", "summarise", "chat")
PER_WORKLOAD = 8
BATCH = 8
BASE = "float32"


def bench_numerics(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Answer in every format, and compare."""
    result = envelope("numerics", "where do answers part between numerics?", seed=SEED)
    items = [
        item
        for name in WORKLOADS
        for item in load_workload(name, part="test", limit=PER_WORKLOAD, seed=SEED).items
    ]
    return result | measured_numerics(partial(_loaded, say), items, say, journal)


def _loaded(say: Callable[[str], None], dtype: str) -> TorchEngine:
    return load_torch("smollm2", dtype=dtype, progress=say)


def measured_numerics(
    load: Callable[[str], TorchEngine],
    items: Sequence[Request],
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    """Return a cell a format: within it, and against float32."""
    cells = []
    base: Mapping[str, Written] = {}
    for dtype in (BASE, *(name for name in DTYPES if name != BASE)):
        engine = load(dtype)
        alone = Prover(engine, say, journal).answers(items, Installed(), "alone")
        together = Prover(engine, say, journal, batch=BATCH).answers(
            items, Installed(), f"{BATCH} together"
        )
        base = base or alone
        cells.append(
            {
                "dtype": dtype,
                "alone_against_together": parted(engine, items, alone, together),
                "against_float32": parted(engine, items, base, alone),
            }
        )
        del engine
        gc.collect()
    return {"answers": len(items), "batch": BATCH, "cells": cells}


def parted(
    engine: TorchEngine,
    items: Sequence[Request],
    one: Mapping[str, Written],
    other: Mapping[str, Written],
) -> dict[str, Any]:
    """Return how many answers are the same, and where the others part.

    Margins are those of the engine, after what both had written.
    """
    pairs = [(item, one[item.id].token_ids, other[item.id].token_ids) for item in items]
    apart = [(item, a, b) for item, a, b in pairs if a != b]
    places = [first_difference(a, b) for _, a, b in apart]
    margins = [margin_where_parted(engine, item, a, b) for item, a, b in apart]
    return {
        "identical": len(items) - len(apart),
        "first_parting": min(places, default=None),
        "median_parting": median(places) if places else None,
        "largest_margin": max(margins, default=None),
    }


def first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the index of the first token that differs."""
    pairs = zip(one, other, strict=False)
    at = (i for i, (a, b) in enumerate(pairs) if a != b)
    return next(at, min(len(one), len(other)))
