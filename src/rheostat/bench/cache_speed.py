"""Seconds of steps after a long context with the whole cache and with a part, and of a fork."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from rheostat.bench.result import spread
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.model_cost import Work
from rheostat.kernel.seams import Depth, Layout
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.kv_cache import Eviction

REPEATS = 5


def step_seconds(
    engine: TorchEngine, eviction: Eviction, *, context: int, rows: int, steps: int
) -> dict[str, Any]:
    """Time steps of several rows with the whole cache and with what a decision leaves of it.

    Entries are drawn at random: the time of a step does not depend on them.
    """
    whole = [_drawn(engine, None, context, row, steps) for row in range(rows)]
    start = time.perf_counter()
    part = [_drawn(engine, eviction, context, row, steps) for row in range(rows)]
    compacting = time.perf_counter() - start
    seconds: dict[str, list[float]] = {"whole": [], "part": []}
    _steps(engine, whole, steps), _steps(engine, part, steps)
    for repeat in range(REPEATS):
        order = [("whole", whole), ("part", part)]
        for name, caches in order if repeat % 2 == 0 else order[::-1]:
            seconds[name].append(_steps(engine, caches, steps))
    ratios = [a / b for a, b in zip(seconds["whole"], seconds["part"], strict=True)]
    return {
        "context": context,
        "rows": rows,
        "steps": steps,
        "whole_seconds": spread(seconds["whole"]),
        "part_seconds": spread(seconds["part"]),
        "whole_over_part": spread(ratios),
        "whole_bytes": sum(cache.bytes for cache in whole),
        "part_bytes": sum(cache.bytes for cache in part),
        "entries": part[0].entries,
        "filling_and_compacting_seconds": compacting,
    }


def _drawn(
    engine: TorchEngine, eviction: Eviction | None, context: int, seed: int, steps: int
) -> RowCache:
    """Return a cache of so many random tokens, settled."""
    draw = torch.Generator().manual_seed(seed)
    layout, shape = Layout.full(engine.shape.layers), engine.shape
    compaction = Compaction(engine.llama, engine.prices(), eviction)
    cache = compaction.cache(layout, prompt=context, capacity=context + steps)
    size = (context, 2, shape.kv_heads, shape.head_size)
    group = shape.heads // shape.kv_heads
    for slot in range(shape.layers):
        cache.make_room(context)
        cache.put(slot, torch.randn(size, generator=draw).to(engine.llama.dtype))
        if cache.queries is not None and eviction is not None:
            asked = (shape.kv_heads, group, eviction.every, shape.head_size)
            cache.queries.start = context - eviction.every
            cache.queries.put(slot, torch.randn(asked, generator=draw), cache.queries.start)
    cache.advance(context)
    compaction.settle([cache], [Work()], [Trace()])
    return cache


def _steps(engine: TorchEngine, caches: Sequence[RowCache], steps: int) -> float:
    """Return the mean seconds of a step that writes one token a row; take the tokens back."""
    depth, length = Depth(Layout.full(engine.shape.layers)), caches[0].length
    token = engine.shape.vocabulary // 2
    start = time.perf_counter()
    for _ in range(steps):
        engine.llama.forward([Feed(c, [token], 0) for c in caches], depth, logit_rows=None)
    seconds = (time.perf_counter() - start) / steps
    for cache in caches:
        cache.truncate(length)
    return seconds


def fork_seconds(engine: TorchEngine, tokens: int, repeats: int) -> dict[str, Any]:
    """Time forks of a cache of so many tokens, and count the bytes that one adds."""
    cache = empty_cache(engine.llama, Layout.full(engine.shape.layers), capacity=tokens)
    cache.pad(tokens)
    held = cache.bytes
    cache.fork()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        twin = cache.fork()
        seconds.append(time.perf_counter() - start)
    return {
        "tokens": tokens,
        "bytes": held,
        "bytes_of_a_fork": twin.bytes,
        "seconds": spread(seconds),
    }
