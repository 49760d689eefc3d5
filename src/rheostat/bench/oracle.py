"""Suite `oracle`: how much could any rule save on this model, and how much do rules reach?

The base's answers are read back: at every exit, under every mask of a short window of MLPs, and
along every draft. What a perfect decision would cost at a limit of changed tokens is set beside the
best single choice, the best lottery, and what the same look back makes of luck alone. Samples and
budgets in hindsight are in the suite `solve`.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.decode import drafting_prices
from rheostat.bench.oracle_exits import confident_exits
from rheostat.bench.result import envelope
from rheostat.engines.base import Sampling
from rheostat.engines.torch_hindsight import exits, mask_choices
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.oracle.choices import hindsight
from rheostat.kernel.oracle.draft_ways import ways_compared
from rheostat.kernel.oracle.tables import changed, smallest_exits, windowed
from rheostat.kernel.seams import Layout
from rheostat.stages.losses import base_samples
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.stages.losses import Sample

SEED = 600_000
ITEMS: Mapping[str, int] = {"edit": 6, "chat": 6}
NEW_TOKENS = 48
LIMITS = (0.0, 0.01, 0.05)
"""Shares of tokens that may be other than the base's."""
MASKED = 6
"""MLPs of the window of layers whose every mask is tried."""
BEHIND = 2
"""Layers between the window and the head: the last ones are known to be needed."""
WINDOWS = (1, 4, 16)
"""Tokens that share a decision."""


def bench_oracle(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Record the tables of every workload and judge them."""
    result = envelope("oracle", "how much could a perfect decision save?", seed=SEED)
    engine = load_torch("smollm2", progress=say)
    cells = [workload_cell(engine, *one, say, journal) for one in ITEMS.items()]
    return result | {
        "new_tokens": NEW_TOKENS,
        "layers": engine.shape.layers,
        "masked_layers": list(window_of(engine.shape.layers)),
        "cells": cells,
    }


def workload_cell(
    engine: TorchEngine,
    workload: str,
    items: int,
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    """Answer some items of a workload with the base, then look back on the answers."""
    loaded = load_workload(workload, part="test", limit=items, seed=SEED)
    samples = base_samples(engine, loaded, Sampling(max_new_tokens=NEW_TOKENS), say)
    return {
        "workload": workload,
        "items": len(samples),
        "tokens": sum(len(sample.answer) for sample in samples),
        "exits": journal.part(f"{workload}, exits", partial(exit_part, engine, samples, say)),
        "masks": journal.part(f"{workload}, masks", partial(mask_part, engine, samples, say)),
        "drafts": journal.part(f"{workload}, drafts", partial(draft_part, engine, samples, say)),
    }


def exit_part(
    engine: TorchEngine, samples: Sequence[Sample], say: Callable[[str], None]
) -> dict[str, Any]:
    """Look back on exits behind every layer, and let a rule of certainty leave."""
    say(f"looking at every exit of {len(samples)} answers")
    seen = [exits(engine, sample.prompt, sample.answer) for sample in samples]
    choices = np.concatenate([one.choices for one in seen])
    first, layers = smallest_exits(choices) + 1, engine.shape.layers
    step = partial(step_seconds, engine, context_of(samples))
    prices = [step(layers=depth) for depth in range(1, layers + 1)]
    lost = changed(choices, choices[:, -1])
    head = step(layers=layers) - step(layers=layers, head_rows=0)
    return {
        "smallest_exit": {
            "mean": float(first.mean()),
            "quartiles": [float(q) for q in np.quantile(first, [0.25, 0.5, 0.75])],
            "last_layer": float((first == layers).mean()),
        },
        "limits": [
            {"limit": limit}
            | hindsight(lost, prices, limit, base=layers - 1).to_json()
            | {"certainty": confident_exits(seen, prices, head, limit)}
            for limit in LIMITS
        ],
    }


def mask_part(
    engine: TorchEngine, samples: Sequence[Sample], say: Callable[[str], None]
) -> dict[str, Any]:
    """Look back on every mask of a window of MLPs, for decisions a token and a few of them."""
    masks = masks_of(engine.shape.layers)
    say(f"reading {len(samples)} answers under {len(masks)} masks each")
    lost = []
    for sample in samples:
        chosen = mask_choices(engine, sample.prompt, sample.answer, masks)
        lost.append(changed(chosen, chosen[:, 0]))
    step = partial(step_seconds, engine, context_of(samples))
    prices = [step(mlps=sum(mask.mlp)) for mask in masks]
    tables = {size: np.concatenate([windowed(one, size) for one in lost]) for size in WINDOWS}
    return {
        "masks": len(masks),
        "windows": [
            {"tokens": size, "limit": limit} | hindsight(table, prices, limit).to_json()
            for size, table in tables.items()
            for limit in LIMITS
            if len(table)
        ],
    }


def draft_part(
    engine: TorchEngine, samples: Sequence[Sample], say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Look back on drafts: the controller, fixed and random lengths, and the perfect ones."""
    say(f"pricing drafts along {len(samples)} answers")
    price = drafting_prices(engine)
    found = ways_compared([price(sample.request, sample.answer) for sample in samples])
    return None if found is None else {k: v for k, v in found.items() if k != "relative"}


def window_of(layers: int) -> range:
    """Return the layers whose MLPs are masked."""
    end = max(layers - BEHIND, 1)
    return range(max(0, end - MASKED), end)


def masks_of(layers: int) -> list[Layout]:
    """Return every mask of the window's MLPs; the first is the full model."""
    full, window = Layout.full(layers), window_of(layers)
    return [
        full.without(mlp=[i for i, out in zip(window, left_out, strict=True) if out])
        for left_out in product((False, True), repeat=len(window))
    ]


def context_of(samples: Sequence[Sample]) -> int:
    """Return the mean context of a written token."""
    held = [len(s.prompt) + i for s in samples for i in range(len(s.answer))]
    return round(float(np.mean(held)))


def step_seconds(
    engine: TorchEngine,
    context: int,
    *,
    layers: int | None = None,
    mlps: int | None = None,
    head_rows: int = 1,
) -> float:
    """Return the price of writing a token through so many layers, or through fewer MLPs."""
    layers = engine.shape.layers if layers is None else layers
    return engine.prices().seconds(
        1, context, attention=layers, mlp=layers if mlps is None else mlps, head_rows=head_rows
    )
