"""Suite `step`: where the time of a decoding step goes, a format each, on one thread.

Seconds of a step are measured without a profiler. Shares are those of the operations' own times
under torch's profiler, which makes small operations look somewhat dearer than they are; what is
in no operation is Python and the dispatch of operations.
"""

from __future__ import annotations

import gc
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

from rheostat.bench.result import envelope, spread
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import DTYPES, load_torch
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine

SEED = 500000
WIDTHS = (1, 4, 16)
CONTEXT = 256
STEPS = 24
REPEATS = 5
PARTS: Mapping[str, tuple[str, ...]] = {
    "all layers, one call": ("level_step",),
    "four-bit products": ("_weight_int4pack_mm_for_cpu", "level_product"),
    "eight-bit head": ("_weight_int8pack_mm", "head_scan"),
    "other products": ("mm", "addmm", "bmm", "linear", "_linear_pointwise", "float_product"),
    "attention": (
        "attend_rows",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product",
    ),
    "copies and casts": ("copy_", "_to_copy", "to", "cat", "contiguous", "clone"),
}
"""Parts of a step by the ends of operations' names; everything else is `small operations`."""


def bench_step(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Time and profile steps over few tokens in every format."""
    cells = []
    for dtype in DTYPES:
        engine = load_torch("smollm2", dtype=dtype, threads=1, progress=say)
        for width in WIDTHS:
            say(f"profiling steps over {width} tokens in {dtype}")
            cells.append(journal.part(f"{dtype} {width}", partial(step_cell, engine, width)))
        del engine
        gc.collect()
    torch.set_num_threads(machine().cores)
    question = "where does the time of a decoding step go?"
    return envelope("step", question, seed=SEED) | {
        "threads": 1,
        "context": CONTEXT,
        "steps": STEPS,
        "cells": cells,
    }


def step_cell(engine: TorchEngine, width: int) -> dict[str, Any]:
    """Time steps over `width` new tokens, then profile them."""
    work = partial(_steps, engine, width)
    work()
    seconds = [work() for _ in range(REPEATS)]
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        profiled = work()
    microseconds: dict[str, float] = {}
    operations = 0
    for event in seen.key_averages():
        part = _part(event.key)
        microseconds[part] = microseconds.get(part, 0.0) + event.self_cpu_time_total
        operations += event.count
    shares = {part: spent * 1e-6 / (profiled * STEPS) for part, spent in microseconds.items()}
    return {
        "dtype": engine.dtype,
        "tokens": width,
        "seconds": spread(seconds),
        "seconds_under_the_profiler": profiled,
        "operations": operations / STEPS,
        "shares": shares | {"Python": max(1 - sum(shares.values()), 0.0)},
    }


def _steps(engine: TorchEngine, width: int) -> float:
    """Return the mean seconds of a step that chooses after each of its tokens."""
    model = engine.llama
    depth = Depth(Layout.full(model.shape.layers))
    context = min(CONTEXT, model.shape.context - width)
    cache = empty_cache(model, depth.layout, capacity=context + width)
    cache.pad(context)
    middle = model.shape.vocabulary // 2
    feed = Feed(cache, [middle + i for i in range(width)], 0)
    start = time.perf_counter()
    for _ in range(STEPS):
        model.forward([feed], depth, logit_rows=None, choices=True)
        cache.truncate(context)
    return (time.perf_counter() - start) / STEPS


def _part(operation: str) -> str:
    name = operation.partition("::")[2] or operation
    for part, ends in PARTS.items():
        if name in ends or (part == "attention" and name.startswith(ends)):
            return part
    return "small operations"
