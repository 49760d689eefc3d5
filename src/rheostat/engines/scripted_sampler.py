"""Samples of the scripted engine: answers from a known law, and times of completion that are set.

A sample takes as long as it has tokens, or what the spec's `durations` say of its text:
  {"answers": {"q": {"right": 6, "wrong": 4}}, "durations": {"right": 30, "wrong": 10}}
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, final

from rheostat.engines.base import EngineCard
from rheostat.engines.sampler import Drawn
from rheostat.engines.simulated_sampler import Outcome, SimulatedSampler
from rheostat.kernel import signals
from rheostat.kernel.cost import Cost
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed

if TYPE_CHECKING:
    from rheostat.engines.money import TokenPrices
    from rheostat.engines.sampler import Draw
    from rheostat.engines.scripted import ScriptedEngine


@final
class ScriptedSource:
    """The scripted engine, a sample at a time."""

    card = EngineCard(
        name="scripted",
        offers=frozenset(
            {
                "sample",
                "sample.logprobs",
                "sample.temperature",
                "sample.pause",
                "stop",
                "simulated",
            }
        ),
    )

    def __init__(self, engine: ScriptedEngine, installed: Installed) -> None:
        """Keep the engine, and where the plan ends a sample."""
        self._installed = Installed(stop=installed.stop)
        self.model = engine.model
        self._engine = engine

    def bound(self, draw: Draw) -> Cost:
        """Return the most that a sample costs: every one reads the prompt."""
        prompt = len(self._engine.encode(draw.request))
        new = min(draw.sampling.max_new_tokens, self._engine.shape.context - prompt)
        price = self._engine.pass_cost(prompt, cached=0).price
        price += new * self._engine.pass_cost(1, cached=0).price
        return Cost(prompt_tokens=prompt, new_tokens=new, calls=max(new, 1), price=price)

    def outcome(self, draw: Draw) -> Outcome:
        """Draw the sample: it depends on (question, index, seed) alone."""
        name = f"{draw.question}\n{draw.index}"
        (output,) = self._engine.generate(
            [replace(draw.request, id=name)],
            draw.sampling,
            installed=self._installed,
            ledger=Ledger(),
        )
        output = replace(output, id=draw.question)
        toy, prompt = self._engine.toy, tuple(self._engine.encode(draw.request))
        logprobs, entropies = [], []
        for at, token in enumerate(output.token_ids):
            nats = signals.log_softmax(toy.logits(prompt, output.token_ids[:at])[None])[0]
            logprobs.append(float(nats[token]))
            entropies.append(-sum(math.exp(n) * n for n in nats.tolist() if math.isfinite(n)))
        duration = self._engine.durations.get(output.text, float(len(output.token_ids) + 1))
        drawn = Drawn(
            draw=draw, output=output, logprobs=tuple(logprobs), entropies=tuple(entropies)
        )
        return Outcome(drawn, duration)

    def close(self) -> None:
        """Nothing is held."""


def scripted_sampler(
    engine: ScriptedEngine,
    *,
    installed: Installed | None = None,
    prices: TokenPrices | None = None,
) -> SimulatedSampler:
    """Return the sampler of a scripted engine under a plan's decision on `stop`."""
    return SimulatedSampler(ScriptedSource(engine, installed or Installed()), prices)
