"""Draws whose outcomes are known beforehand, under a simulated clock: replay and scripted samples.

All draws run side by side and each ends its own duration after its launch, so that orders of
completion, cancelled work and its cost can be studied without a model. What a draw gives does not
depend on the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import EngineCard
    from rheostat.engines.money import TokenPrices
    from rheostat.engines.sampler import Draw, Drawn
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Reservation


@dataclass(frozen=True)
class Outcome:
    """What a draw will give."""

    drawn: Drawn
    duration: float
    """On the simulated clock; draws that are launched together end in the order of these."""


class OutcomeSource(Protocol):
    """Where outcomes come from."""

    card: EngineCard
    model: str

    def bound(self, draw: Draw) -> Cost:
        """Return the most that a draw costs."""

    def outcome(self, draw: Draw) -> Outcome:
        """Return what a draw gives."""

    def close(self) -> None:
        """Let go of files."""


@dataclass(frozen=True)
class _Running:
    outcome: Outcome
    began: float
    reservation: Reservation

    @property
    def ends(self) -> float:
        return self.began + self.outcome.duration


@final
class SimulatedSampler:
    """The samplers' interface over known outcomes."""

    def __init__(self, source: OutcomeSource, prices: TokenPrices | None = None) -> None:
        """Start the clock at 0; `prices` say what tokens cost in money."""
        self._prices = prices
        self.card = source.card
        self.model = source.model
        self.clock = 0.0
        self._source = source
        self._running: dict[tuple[str, int], _Running] = {}
        self._ended: list[Drawn] = []

    def bound(self, draw: Draw) -> Cost:
        """Return the most that a draw costs."""
        bound = self._source.bound(draw)
        return bound if self._prices is None else self._prices.priced(bound)

    def launch(self, draw: Draw, reservation: Reservation) -> None:
        """Start a draw on the simulated clock."""
        outcome = self._source.outcome(draw)
        if self._prices is not None:
            output = outcome.drawn.output
            output = replace(output, cost=self._prices.priced(output.cost))
            outcome = replace(outcome, drawn=replace(outcome.drawn, output=output))
        self._running[draw.question, draw.index] = _Running(outcome, self.clock, reservation)

    def cancel(self, draw: Draw) -> None:
        """End a draw before its time; it costs the share of its duration that has passed."""
        running = self._running.pop((draw.question, draw.index), None)
        if running is None:
            return
        duration = running.outcome.duration
        drawn = _begun(running.outcome.drawn, (self.clock - running.began) / duration)
        running.reservation.charge(drawn.output.cost)
        running.reservation.cancel(f"sample {draw.index} was cancelled")
        self._ended.append(drawn)

    def poll(self) -> Sequence[Drawn]:
        """Move the clock to the next end; return all draws that have ended by then."""
        if not self._ended and self._running:
            self.clock = min(running.ends for running in self._running.values())
            for key in [k for k, running in self._running.items() if running.ends <= self.clock]:
                running = self._running.pop(key)
                running.reservation.settle(running.outcome.drawn.output.cost)
                self._ended.append(running.outcome.drawn)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Cancel whatever runs."""
        for running in list(self._running.values()):
            self.cancel(running.outcome.drawn.draw)
        self._ended = []
        self._source.close()


def _begun(drawn: Drawn, share: float) -> Drawn:
    """Return a draw of which a share is done: its first tokens, without their text."""
    output = drawn.output
    n = min(math.floor(share * len(output.token_ids)), len(output.token_ids))
    new = min(math.floor(share * output.cost.new_tokens), output.cost.new_tokens)
    cost = replace(
        output.cost,
        flops=round(output.cost.flops * share),
        bytes=round(output.cost.bytes * share),
        new_tokens=new,
        price=output.cost.price * share,
        seconds=output.cost.seconds * share,
        usd=output.cost.usd * share,
    )
    cut = replace(
        output, text="", token_ids=output.token_ids[:n], stop_reason="cancelled", cost=cost
    )
    return replace(
        drawn,
        output=cut,
        logprobs=None if drawn.logprobs is None else drawn.logprobs[:n],
        entropies=None if drawn.entropies is None else drawn.entropies[:n],
    )
