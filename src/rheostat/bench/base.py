"""Suite `base`: the engine's own base against `transformers`, same file, format and threads."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from rheostat.bench.peer import Timed, Transformers
from rheostat.bench.result import envelope, spread
from rheostat.engines.base import Request, Sampling
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import DTYPES, load_torch
from rheostat.kernel.seams import Installed
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine

REPEATS = 5
NEW_TOKENS = 64
SEED = 500000


def bench_base(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Time both number formats, interleaved: batch 1 at 1 and all threads, batch 8 at all."""
    result = envelope("base", "is the engine's base as fast as transformers?", seed=SEED)
    cells = []
    for threads in sorted({1, machine().cores}):
        for dtype in ("float32", "bfloat16"):
            engine = load_torch("smollm2", dtype=dtype, threads=threads, progress=say)
            peer = Transformers("smollm2", DTYPES[dtype], say)
            for batch in (1, 8) if threads == machine().cores else (1,):
                label = f"{dtype}, threads {threads}, batch {batch}"
                say(f"timing {label}")
                cell = journal.part(label, partial(_cell, engine, peer, batch))
                cells.append(cell | {"dtype": dtype, "threads": threads})
            del engine, peer
            gc.collect()
    torch.set_num_threads(machine().cores)
    return result | {"new_tokens": NEW_TOKENS, "cells": cells}


def _cell(engine: TorchEngine, peer: Transformers, batch: int) -> dict[str, Any]:
    """Time the two in turn on one question after another, the order alternating."""
    items = load_workload("chat", part="test", limit=REPEATS + 1, seed=SEED).items
    own: list[float] = []
    other: list[float] = []
    same = 0
    for i, item in enumerate(items):
        prompt = engine.encode(item)
        eos = sorted(engine.eos)
        first = i % 2 == 0
        if first:
            ours = _ours(engine, item, batch)
        theirs = peer.generate([prompt] * batch, new_tokens=NEW_TOKENS, eos=eos)
        if not first:
            ours = _ours(engine, item, batch)
        if i == 0:
            continue  # the first pair warms up
        own.append(ours.tokens_per_second)
        other.append(theirs.tokens_per_second)
        same += ours.rows == theirs.rows
    return {
        "batch": batch,
        "engine_tokens_per_second": spread(own),
        "transformers_tokens_per_second": spread(other),
        "ratio": spread([a / b for a, b in zip(own, other, strict=True)]),
        "identical_answers": same / len(own),
    }


def _ours(engine: TorchEngine, item: Request, batch: int) -> Timed:
    requests = [
        Request(id=f"{item.id}-{row}", prompt=item.prompt, messages=item.messages)
        for row in range(batch)
    ]
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    outputs = {o.id: o for o in engine.generate(requests, sampling, installed=Installed())}
    rows = [list(outputs[r.id].token_ids) for r in requests]
    return Timed(rows, sum(o.cost.seconds for o in outputs.values()))
