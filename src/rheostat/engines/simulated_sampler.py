"""Draws whose outcomes are known beforehand, under a simulated clock: replay and scripted samples.

All draws run side by side and each ends its own duration after its launch, so that orders of
completion, cancelled work and its cost can be studied without a model. What a draw gives does not
depend on the clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, final

from rheostat.engines.sampler import Drawn, Held

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import EngineCard
    from rheostat.engines.money import TokenPrices
    from rheostat.engines.sampler import Draw
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
    """Moved on by the time that it waited."""
    reservation: Reservation
    pauses: tuple[int, ...] = ()
    """Those that it will come to, in tokens."""

    def at(self, tokens: int) -> float:
        """Return when so many new tokens are written."""
        return (
            self.began + self.outcome.duration * tokens / self.outcome.drawn.output.cost.new_tokens
        )

    @property
    def ends(self) -> float:
        """When it next comes to a pause or to its end."""
        return self.at(self.pauses[0]) if self.pauses else self.began + self.outcome.duration


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
        self._held: dict[tuple[str, int], _Running] = {}
        self._ended: list[Drawn | Held] = []

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
        tokens = outcome.drawn.output.cost.new_tokens
        pauses = tuple(n for n in draw.pauses if n < tokens)
        self._running[draw.key] = _Running(outcome, self.clock, reservation, pauses)

    def resume(self, draw: Draw) -> None:
        """Let a draw that waits go on from now."""
        held = self._held.pop(draw.key)
        moved = held.began + self.clock - held.ends
        self._running[draw.key] = replace(held, began=moved, pauses=held.pauses[1:])

    def cancel(self, draw: Draw) -> None:
        """End a draw before its time; it costs the share of its duration that has passed."""
        held = self._held.pop(draw.key, None)
        running = held or self._running.pop(draw.key, None)
        if running is None:
            return
        tokens = running.outcome.drawn.output.cost.new_tokens
        share = (self.clock - running.began) / running.outcome.duration
        done = min(int(share * tokens), tokens)
        if held is not None:
            share, done = held.pauses[0] / tokens, held.pauses[0]
        drawn = _begun(running.outcome.drawn, share, done)
        running.reservation.charge(drawn.output.cost)
        running.reservation.cancel(f"sample {draw.index} was cancelled")
        self._ended.append(drawn)

    def poll(self) -> Sequence[Drawn | Held]:
        """Move the clock to the next end or pause; return all draws that came to one by then."""
        if not self._ended and self._running:
            self.clock = min(running.ends for running in self._running.values())
            for key in [k for k, running in self._running.items() if running.ends <= self.clock]:
                running = self._running.pop(key)
                if running.pauses:
                    self._held[key] = running
                    self._ended.append(_waiting(running.outcome.drawn, running.pauses[0]))
                    continue
                running.reservation.settle(running.outcome.drawn.output.cost)
                self._ended.append(running.outcome.drawn)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Cancel whatever runs."""
        for running in [*self._running.values(), *self._held.values()]:
            self.cancel(running.outcome.drawn.draw)
        self._ended = []
        self._source.close()


def _waiting(drawn: Drawn, tokens: int) -> Held:
    """Return a draw at a pause."""
    output = drawn.output
    share = tokens / output.cost.new_tokens
    return Held(
        draw=drawn.draw,
        tokens=tokens,
        token_ids=output.token_ids[:tokens],
        text=output.text[: round(share * len(output.text))],
        logprobs=None if drawn.logprobs is None else drawn.logprobs[:tokens],
    )


def _begun(drawn: Drawn, share: float, tokens: int) -> Drawn:
    """Return a draw of which a share is done and so many tokens are written, without its text."""
    output = drawn.output
    cost = replace(
        output.cost,
        flops=round(output.cost.flops * share),
        bytes=round(output.cost.bytes * share),
        new_tokens=tokens,
        price=output.cost.price * share,
        seconds=output.cost.seconds * share,
        usd=output.cost.usd * share,
    )
    cut = replace(
        output, text="", token_ids=output.token_ids[:tokens], stop_reason="cancelled", cost=cost
    )
    return replace(
        drawn,
        output=cut,
        logprobs=None if drawn.logprobs is None else drawn.logprobs[:tokens],
        entropies=None if drawn.entropies is None else drawn.entropies[:tokens],
    )
