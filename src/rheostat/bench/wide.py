"""Suite `wide`: all threads of the machine, one request and four at once, beside the same peers.

Nothing is claimed from it: few answers, all of them counted, whatever they hold. Prompt lookup of
`transformers` takes one request at a time, so it is absent among four.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rheostat.bench.contest import decision_of, in_turn
from rheostat.bench.decode import FORMATS, sources
from rheostat.bench.llamacpp_peer import check_installed
from rheostat.bench.peer import DENSE, LOOKUPS, Transformers, llamacpp_servers
from rheostat.bench.result import envelope, spread
from rheostat.engines.base import Sampling
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import DTYPES, load_torch
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.bench.llamacpp_peer import LlamaCpp
    from rheostat.bench.peer import Drafting
    from rheostat.engines.base import Request
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.seams import Installed

SEED = 500000
NEW_TOKENS = 64
WORKLOADS = ("edit", "copy", "summarise", "chat")
GROUPS: Mapping[int, int] = {1: 4, 4: 2}
"""Requests at once, and how many such groups answer; one more before them warms up."""
KINDS = ("NONE", "NGRAM_SIMPLE 3 10", "NGRAM_MAP_K 3 10")
"""llama.cpp dense, and the kinds that are fastest on one thread."""


class Done(NamedTuple):
    """What a contestant made of a group."""

    tokens: int
    seconds: float


Contestant = Callable[["Sequence[Request]"], Done]


def bench_wide(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Let everyone answer every group, a format after the other."""
    check_installed()
    threads = machine().cores
    cells: list[dict[str, Any]] = []
    for dtype in FORMATS:
        engine = load_torch("smollm2", dtype=dtype, threads=threads, progress=say)
        for rows, groups in GROUPS.items():
            with _peers(engine, dtype, rows, say) as peers:
                contestants = {**_own(engine), **peers}
                for workload in WORKLOADS:
                    label = f"{dtype}, {workload}, {rows} at once"
                    say(label)
                    cell = partial(_cell, contestants, workload, rows, groups)
                    cells.append({"dtype": dtype} | journal.part(label, cell))
            gc.collect()
        del engine, contestants
    question = "how fast are drafts on all threads, and with four requests at once?"
    torch.set_num_threads(threads)
    return envelope("wide", question, seed=SEED) | {
        "new_tokens": NEW_TOKENS,
        "threads": threads,
        "cells": cells,
    }


def _cell(
    contestants: Mapping[str, Contestant], workload: str, rows: int, groups: int
) -> dict[str, Any]:
    """Let everyone answer the groups of a workload, each of them first in turn."""
    items = load_workload(workload, part="test", limit=rows * (groups + 1), seed=SEED).items
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(groups + 1):
        group = items[i * rows : (i + 1) * rows]
        for name in in_turn(contestants, i):
            done = contestants[name](group)
            if i:  # the first group warms up
                speeds[name].append(done.tokens / done.seconds)
    return {
        "workload": workload,
        "rows": rows,
        "tokens_per_second": {name: spread(found) for name, found in speeds.items()},
    }


def _own(engine: TorchEngine) -> dict[str, Contestant]:
    every, plain = decision_of(engine, *sources().values()), decision_of(engine)
    return {"base": partial(_ours, engine, plain), "controller": partial(_ours, engine, every)}


@contextmanager
def _peers(
    engine: TorchEngine, dtype: str, rows: int, say: Callable[[str], None]
) -> Iterator[Mapping[str, Contestant]]:
    if dtype != "gguf":
        peer = Transformers(engine.model, DTYPES[dtype], say)
        kinds = {**DENSE, **LOOKUPS} if rows == 1 else DENSE
        yield {name: partial(_transformers, engine, peer, how) for name, how in kinds.items()}
        return
    with llamacpp_servers(engine, KINDS, say, rows=rows) as servers:
        yield {name: partial(_llamacpp, engine, server) for name, server in servers.items()}


def _ours(engine: TorchEngine, decision: Installed, group: Sequence[Request]) -> Done:
    start = time.perf_counter()
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    tokens = sum(
        len(o.token_ids) for o in engine.generate(list(group), sampling, installed=decision)
    )
    return Done(tokens, time.perf_counter() - start)


def _transformers(
    engine: TorchEngine, peer: Transformers, drafting: Drafting, group: Sequence[Request]
) -> Done:
    prompts = [engine.encode(item) for item in group]
    eos = sorted(engine.eos)
    done = peer.generate(prompts, new_tokens=NEW_TOKENS, eos=eos, drafting=drafting)
    return Done(sum(map(len, done.rows)), done.seconds)


def _llamacpp(engine: TorchEngine, server: LlamaCpp, group: Sequence[Request]) -> Done:
    start = time.perf_counter()
    replies = server.answers([engine.encode(item) for item in group], new_tokens=NEW_TOKENS)
    return Done(sum(reply.tokens for reply in replies), time.perf_counter() - start)
