"""Particles of the scripted engine: every answer is priced as if it were written alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np

from rheostat.engines.particles import Together, answered, generator, unstarted
from rheostat.kernel.cost import Cost
from rheostat.kernel.records import Refusal
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import OnToken, Output, Request
    from rheostat.engines.constrained import Constrained
    from rheostat.engines.particles import Walk
    from rheostat.engines.scripted import ScriptedEngine
    from rheostat.kernel.ledger import Ledger
    from rheostat.kernel.seams import Floats


def answered_together(
    engine: ScriptedEngine,
    request: Request,
    limits: Constrained,
    books: Ledger,
    on_token: OnToken | None,
) -> Output:
    """Answer a request with all its particles; a budget with no room for them all starts none."""
    sampling, prompt = limits.sampling, engine.encode(request)
    fits = engine.shape.context - len(prompt)
    max_new = min(sampling.max_new_tokens, fits)
    if max_new < 1:
        return replace(unstarted(request.id), stop_reason="context")
    walker = _Walker(engine, prompt)
    bound = walker.bound(sampling.particles, max_new)
    answer = books.try_reserve(bound, elapsed=books.root.spent.seconds, note=request.id)
    if isinstance(answer, Refusal):
        return unstarted(request.id)
    how = Together(
        name=request.id,
        constraint=limits.constraint.name,
        prompt=prompt,
        count=sampling.particles,
        ends=limits.ends.ends,
        max_new=max_new,
        full="context" if max_new < sampling.max_new_tokens else "length",
        rng=generator(sampling.seed, request.id),
        trace=Trace(),
        overdue=lambda: books.overdue(books.root.spent.seconds + walker.cost().seconds),
        reservation=answer,
    )
    return answered(walker, limits.row(request.id), how, on_token)


@final
class _Walker:
    """The toy model, as the particles of one request go through it."""

    def __init__(self, engine: ScriptedEngine, prompt: Sequence[int]) -> None:
        self.written = 0
        self._engine = engine
        self._prompt = tuple(prompt)
        self._cost = Cost()

    def bound(self, count: int, max_new: int) -> Cost:
        """Return the most that all particles can take."""
        steps = count * (max_new + 1)
        price = self._engine.pass_cost(1, cached=0).price * steps
        price += self._engine.pass_cost(len(self._prompt), cached=0).price
        return Cost(
            prompt_tokens=len(self._prompt),
            new_tokens=count * max_new,
            calls=steps + 1,
            price=price,
        )

    def read(self) -> None:
        """Read the prompt up to its last token; the toy model keeps nothing."""
        if len(self._prompt) > 1:
            self._cost += self._engine.pass_cost(len(self._prompt) - 1, cached=0)

    def logits(self, walks: Sequence[Walk]) -> Floats:
        """Read each particle's newest token."""
        for walk in walks:
            cached = len(self._prompt) + len(walk.new) - 1
            self._cost += self._engine.pass_cost(1, cached=cached)
        return np.stack([self._engine.toy.logits(self._prompt, walk.new) for walk in walks])

    def forked(self, held: None) -> None:
        """Return nothing: nothing is held."""
        return held

    def text(self, tokens: Sequence[int]) -> str:
        """Return the words with spaces between them."""
        return " ".join(self._engine.toy.vocabulary[token] for token in tokens)

    def cost(self) -> Cost:
        """Return the cost so far."""
        return replace(self._cost, prompt_tokens=len(self._prompt), new_tokens=self.written)
