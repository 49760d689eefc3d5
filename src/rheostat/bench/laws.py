"""Suite `laws`: which unit of cost says best what a trajectory takes in seconds?

Trajectories of some rounds, each reading a reply and writing a little, the cache kept or lost in
between, are run on the model with random tokens and timed. Every law is then one number a
trajectory; one that is not in seconds is scaled on half of them and judged on the other half.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.result import envelope
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.cost_laws import (
    INTENSITY,
    Generation,
    Round,
    effective_flops,
    fitted,
    large_batch,
    reading_flops,
)
from rheostat.kernel.model_cost import Work
from rheostat.kernel.seams import Depth, Layout
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine

    Floats = NDArray[np.float64]

SEED = 700_000
TRAJECTORIES = 24
CONTEXTS = (16, 64, 128, 256, 512, 768, 1024)
"""Where the price of a written token is fitted."""
CHUNK = 256
"""Tokens of one forward pass."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Rounds of reading and writing."""

    rounds: tuple[Round, ...]

    @property
    def tokens(self) -> int:
        """All that are read and written, those read again included."""
        return sum(one.read + one.written for one in self.rounds)

    @property
    def calls(self) -> int:
        """Rounds."""
        return len(self.rounds)


def bench_laws(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Run and time all trajectories, then compare the laws."""
    result = envelope("laws", "which unit of cost follows measured seconds?", seed=SEED)
    engine = load_torch("smollm2", progress=say)
    made = trajectories(TRAJECTORIES)
    timed(engine, made[0])  # warms up
    runs = []
    for i, one in enumerate(made):
        say(f"running trajectory {i + 1} of {len(made)}")
        runs.append(journal.part(f"trajectory {i + 1}", partial(timed, engine, one)))
    seconds = np.array([run["seconds"] for run in runs])
    laws = laws_of(engine, made) | {"price": np.array([run["price"] for run in runs])}
    rows = [judged(name, values, seconds) for name, values in laws.items()]
    law, error = fitted(engine.shape, engine.prices(), contexts=CONTEXTS)
    return result | {
        "trajectories": len(made),
        "rounds": [len(one.rounds) for one in made],
        "tokens": [one.tokens for one in made],
        "seconds": seconds.tolist(),
        "prefill_equivalents": law.to_json() | {"largest_error": error},
        "laws": rows,
        "verdict": laws_verdict(rows),
    }


def trajectories(count: int) -> list[Trajectory]:
    """Draw trajectories of 1 to 6 rounds that end at 1,500 tokens at most."""
    draw, made = np.random.default_rng(SEED), []
    for _ in range(count):
        rounds, context = [], 0
        for _ in range(int(draw.integers(1, 7))):
            reply, written = int(draw.integers(20, 201)), int(draw.integers(4, 33))
            if context + reply + written > 1500:
                break
            lost = bool(draw.integers(0, 2))
            read = context + reply if lost else reply
            context += reply
            rounds.append(Round(read=read, written=written, context=context))
            context += written
        made.append(Trajectory(rounds=tuple(rounds)))
    return made


def timed(engine: TorchEngine, one: Trajectory) -> dict[str, float]:
    """Run a trajectory; return its measured seconds and its predicted price."""
    depth = Depth(Layout.full(engine.shape.layers))
    room = one.rounds[-1].context + one.rounds[-1].written
    tokens = np.random.default_rng(SEED).integers(0, engine.shape.vocabulary, room).tolist()
    work, trace = Work(), Trace()
    start = time.perf_counter()
    cache = empty_cache(engine.llama, depth.layout, capacity=room)

    def read(at: int, end: int) -> None:
        feed = Feed(cache, tokens[at:end], at)
        engine.passed([feed], depth, [[end - at - 1]], [work], [trace], choices=True)

    for part in one.rounds:
        if part.read == part.context:  # the cache was lost
            cache = empty_cache(engine.llama, depth.layout, capacity=room)
        for at in range(part.context - part.read, part.context, CHUNK):
            read(at, min(at + CHUNK, part.context))
        for at in range(part.context, part.context + part.written):
            read(at, at + 1)
    return {"seconds": time.perf_counter() - start, "price": work.price}


def laws_of(engine: TorchEngine, made: Sequence[Trajectory]) -> dict[str, Floats]:
    """Return what every law but the price says, [trajectories]."""
    shape = engine.shape
    batch_one, _ = fitted(shape, engine.prices(), contexts=CONTEXTS)
    paper = large_batch(shape, INTENSITY)

    def kinetics(one: Trajectory, intensity: float) -> float:
        return sum(
            effective_flops(
                shape, Generation(prompt=part.context, new=part.written), intensity=intensity
            )
            + reading_flops(shape, part.read, part.context - part.read)
            for part in one.rounds
        )

    laws: dict[str, Callable[[Trajectory], float]] = {
        "prefill equivalents, batch 1": lambda one: batch_one.tokens(one.rounds),
        "prefill equivalents, as published": lambda one: paper.tokens(one.rounds),
        "eFLOPs, as published": lambda one: kinetics(one, INTENSITY),
        "FLOPs": lambda one: kinetics(one, 0.0),
        "tokens": lambda one: one.tokens,
        "rounds": lambda one: one.calls,
    }
    return {name: np.array([float(law(one)) for one in made]) for name, law in laws.items()}


def judged(name: str, values: Floats, seconds: Floats) -> dict[str, Any]:
    """Compare one law with measured seconds."""
    fit = np.arange(len(seconds)) % 2 == 0
    scale = 1.0 if name == "price" else float(np.median(seconds[fit] / values[fit]))
    errors = scale * values[~fit] / seconds[~fit] - 1
    upper = np.triu_indices(len(seconds), k=1)
    ours, theirs = (np.sign(np.subtract.outer(v, v))[upper] for v in (values, seconds))
    return {
        "law": name,
        "scaled": name != "price",
        "correlation": float(np.corrcoef(values, seconds)[0, 1]),
        "median_error": float(np.median(errors)),
        "median_absolute_error": float(np.median(np.abs(errors))),
        "largest_absolute_error": float(np.abs(errors).max()),
        "pairs_in_the_wrong_order": float((ours != theirs).mean()),
    }


def laws_verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The price and the batch-1 law correlate over 0.95, and more than counts of anything."""
    by = {row["law"]: row["correlation"] for row in rows}
    own = min(by["price"], by["prefill equivalents, batch 1"])
    counts = max(by["tokens"], by["rounds"])
    return {
        "holds": own > 0.95 and own > counts,
        "evidence": f"correlation with seconds: price {by['price']:.3f}, prefill equivalents at "
        f"batch 1 {by['prefill equivalents, batch 1']:.3f}, tokens {by['tokens']:.3f}, "
        f"rounds {by['rounds']:.3f}",
    }
