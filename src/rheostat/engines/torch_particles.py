"""Particles of the `torch` engine: one batch whose rows share the prompt's cache."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, final

from rheostat.engines.particles import (
    Together,
    answered,
    generator,
    refuse_unserved,
    unstarted,
)
from rheostat.engines.torch_generate import CHUNK, Run
from rheostat.engines.torch_model import Feed
from rheostat.kernel.model_cost import Work
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rheostat.engines.base import Output, Request, StopReason
    from rheostat.engines.particles import Walk
    from rheostat.engines.torch_cache import RowCache
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.seams import Floats, Installed


def particle_outputs(
    run: Run, requests: Sequence[Request], installed: Installed
) -> Iterator[Output]:
    """Answer the requests one after another, each with all its particles together."""
    refuse_unserved(installed)
    for request in requests:
        yield _answered(run, request)


def _answered(run: Run, request: Request) -> Output:
    engine, limits, count = run.engine, run.limits, run.sampling.particles
    assert limits is not None
    prompt = engine.encode(request)
    fits = engine.shape.context - len(prompt)
    wanted = min(run.sampling.max_new_tokens, fits)
    full: StopReason = "length" if run.sampling.max_new_tokens <= fits else "context"
    # a particle takes a pass more than it has tokens: one of them reads the prompt's last token
    grant = run.budget.grant(request.id, prompt=len(prompt), wanted=count * (wanted + 1) + 1)
    max_new = min(wanted, (grant.new_tokens - 1) // count - 1)
    if max_new < 1:
        if grant.reservation is not None:
            grant.reservation.cancel(f"request {request.id} has no room for its particles")
        return unstarted(request.id)
    walker = _Walker(run, prompt)
    how = Together(
        name=request.id,
        constraint=limits.constraint.name,
        prompt=prompt,
        count=count,
        ends=engine.eos,
        max_new=max_new,
        full=full if max_new == wanted else "budget",
        rng=generator(run.sampling.seed, request.id),
        trace=walker.trace,
        overdue=lambda: run.budget.overdue(walker.seconds),
        reservation=grant.reservation,
    )
    return answered(walker, limits.row(request.id), how, run.on_token)


@final
class _Walker:
    """The model, as the particles of one request go through it."""

    def __init__(self, run: Run, prompt: list[int]) -> None:
        self.prompt = prompt
        self.trace = Trace()
        self.written = 0
        self._run = run
        self._work = Work()
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    def read(self) -> RowCache:
        """Read the prompt up to its last token, which the first step reads."""
        run, held = self._run, self.prompt[:-1]
        n, compaction = len(held), run.compaction
        cache = compaction.cache(run.depth.layout, prompt=n, capacity=n + 1)
        for at, end in compaction.parts(n, n, CHUNK):
            compaction.settle([cache], [self._work], [self.trace])
            feed = Feed(cache, held[at:end], at - len(self.prompt))
            run.engine.passed([feed], run.depth, [[]], [self._work], [self.trace])
        compaction.settle([cache], [self._work], [self.trace])
        return cache

    def logits(self, walks: Sequence[Walk]) -> Floats:
        """Read each particle's newest token."""
        run, count = self._run, len(walks)
        caches = [walk.held for walk in walks]
        run.compaction.settle(caches, [self._work] * count, [self.trace] * count)
        feeds = [
            Feed(walk.held, [walk.new[-1] if walk.new else self.prompt[-1]], len(walk.new) - 1)
            for walk in walks
        ]
        made = run.engine.passed(
            feeds, run.depth, [[0]] * count, [self._work] * count, [self.trace] * count
        )
        self.trace.steps += 1
        found: Floats = made.double().numpy()
        return found

    def forked(self, held: RowCache) -> RowCache:
        """Return a second cache; what both hold is stored once."""
        return held.fork()

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer."""
        return self._run.engine.tokenizer.decode(tokens)

    def cost(self) -> Cost:
        """Return the cost so far."""
        counted = self._run.engine.cost(
            self._work, prompt_tokens=len(self.prompt), new_tokens=self.written
        )
        return replace(counted, seconds=self.seconds)
