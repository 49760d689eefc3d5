"""Suite `drive`: what many samples side by side are worth, and what `solve` adds to drawing them.

Tokens per second of 32 samples in one pass over those of one, in both number formats, beside what
the products with the weights alone would allow; and the share of a run's time that is not spent in
the sampler: policies, allocation, ledger, journal.
"""

from __future__ import annotations

import gc
import tempfile
import time
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, final

import torch

from rheostat import catalog
from rheostat.bench.result import envelope, spread
from rheostat.engines.base import Sampling
from rheostat.engines.load_sampler import LoadedSampler
from rheostat.engines.machine import machine
from rheostat.engines.sampler import Draw, Held
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_sampler import TorchSampler
from rheostat.kernel.budget import Caps
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.plan import Plan
from rheostat.stages.solve import Job, solve
from rheostat.stages.solve_plan import with_rule
from rheostat.workloads.tasks import load_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.sampler import Drawn, Sampler
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Reservation
    from rheostat.workloads.tasks import Tasks

SEED = 500000
MODEL = "smollm2"
TASKS = "gym:products?min_terms=2&max_terms=2&max_digits=1&size=24&seed=500000"
SAMPLING = Sampling(temperature=0.7, max_new_tokens=32)
ROWS = 32
SAMPLES, QUESTIONS = 8, 12
"""Of one question one by one; of so many questions side by side, rows refilled as they end."""
REPEATS = 5
PRODUCTS = 20
"""Steps whose products are timed, the fastest of which counts."""
RUNS = 3
"""Runs of `solve` whose time is taken apart."""


def bench_drive(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Measure throughput in each format, one and many in turn, then take runs apart."""
    result = envelope(
        "drive", "what do samples side by side bring, and what does the driver take?", seed=SEED
    )
    tasks = load_tasks(TASKS)
    cells = {}
    for dtype in ("float32", "bfloat16"):
        say(f"drawing in {dtype}")
        cells[dtype] = journal.part(dtype, partial(_throughput, dtype, tasks, say))
        gc.collect()
    say("taking runs apart")
    overhead = journal.part("overhead", partial(_overhead, tasks, say))
    torch.set_num_threads(machine().cores)
    return result | {
        "model": MODEL,
        "tasks": TASKS,
        "rows": ROWS,
        "sampling": SAMPLING.to_json(),
        "throughput": cells,
        "overhead": overhead,
    }


def _throughput(dtype: str, tasks: Tasks, say: Callable[[str], None]) -> dict[str, Any]:
    engine = load_torch(MODEL, dtype=dtype, threads=machine().cores, progress=say)
    one, many, ratios = [], [], []
    for repeat in range(REPEATS + 1):
        alone = tokens_per_second(engine, _draws(tasks, 1, repeat), rows=1)
        beside = tokens_per_second(engine, _draws(tasks, QUESTIONS, repeat), rows=ROWS)
        if repeat:  # the first pair warms up
            one.append(alone)
            many.append(beside)
            ratios.append(beside / alone)
    return {
        "one_tokens_per_second": spread(one),
        "many_tokens_per_second": spread(many),
        "ratio": spread(ratios),
        "products_alone": _products_alone(engine),
    }


def _products_alone(engine: TorchEngine) -> dict[str, float]:
    """Return the seconds of a step's products with the weights, and the ratio that they allow."""
    one, many = inf, inf
    for _ in range(PRODUCTS):
        one = min(one, _products(engine, 1))
        many = min(many, _products(engine, ROWS))
    return {"one_seconds": one, "many_seconds": many, "ratio": ROWS * one / many}


def _products(engine: TorchEngine, rows: int) -> float:
    model = engine.llama
    heads, size = model.shape.heads, model.shape.head_size
    streams = {n: torch.ones(rows, n, dtype=model.dtype) for n in (model.shape.width, heads * size)}
    began = time.perf_counter()
    for layer in model.layers:
        layer.qkv(streams[model.shape.width])
        layer.out(streams[heads * size])
        hidden = layer.gate_up(streams[model.shape.width])
        layer.down(hidden[:, : hidden.shape[1] // 2].contiguous())
    model.headed(streams[model.shape.width], choices=False)
    return time.perf_counter() - began


def _draws(tasks: Tasks, questions: int, seed: int) -> list[Draw]:
    sampling = replace(SAMPLING, seed=seed)
    return [
        Draw(question=item.id, index=i, request=item, sampling=sampling)
        for item in tasks.items[:questions]
        for i in range(SAMPLES)
    ]


def tokens_per_second(engine: TorchEngine, draws: Sequence[Draw], *, rows: int) -> float:
    """Return new tokens a second of drawing, the reading of the prompt included."""
    sampler = TorchSampler(engine, rows=rows)
    ledger = Ledger(name="drive")
    began = time.perf_counter()
    for draw in draws:
        sampler.launch(draw, ledger.reserve(sampler.bound(draw)))
    while sampler.poll():
        pass
    return ledger.spent.new_tokens / (time.perf_counter() - began)


def _overhead(tasks: Tasks, say: Callable[[str], None]) -> dict[str, Any]:
    """Run `solve` with a sampler that is timed."""
    engine = load_torch(MODEL, dtype="float32", threads=machine().cores, progress=say)
    plan = with_rule(Plan(model=MODEL))
    shares, seconds = [], []
    for run in range(RUNS):
        timed = Timed(TorchSampler(engine))
        installed = catalog.installed(plan, engine.shape, timed.card.offers)
        loaded = LoadedSampler(timed, installed, engine.digest, "float32")
        job = Job(
            tasks=tasks, plan=plan, budget=Caps(tokens=10**6), sampling=replace(SAMPLING, seed=run)
        )
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            solve(loaded, job, f"{folder}/run")
            whole = time.perf_counter() - began
        shares.append(1.0 - timed.seconds / whole)
        seconds.append(whole)
    return {"questions": len(tasks.items), "share": spread(shares), "seconds": spread(seconds)}


@final
class Timed:
    """A sampler that counts the seconds spent in it."""

    def __init__(self, sampler: Sampler) -> None:
        """Wrap it."""
        self.card, self.model = sampler.card, sampler.model
        self.seconds = 0.0
        self._sampler = sampler

    def bound(self, draw: Draw) -> Cost:
        """Ask it, as part of the driver's own time: it is bookkeeping."""
        return self._sampler.bound(draw)

    def launch(self, draw: Draw, reservation: Reservation) -> None:
        """Let it launch."""
        began = time.perf_counter()
        self._sampler.launch(draw, reservation)
        self.seconds += time.perf_counter() - began

    def cancel(self, draw: Draw) -> None:
        """Let it cancel."""
        self._sampler.cancel(draw)

    def poll(self) -> Sequence[Drawn | Held]:
        """Let it draw."""
        began = time.perf_counter()
        ended = self._sampler.poll()
        self.seconds += time.perf_counter() - began
        return ended

    def close(self) -> None:
        """Close it."""
        self._sampler.close()
