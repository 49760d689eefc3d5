"""What draws samples: answers are launched, cancelled, and come back as they finish.

One interface for every way of drawing (a server, batched decoding here, a recording); a driver
calls it from one thread. An engine that works in the background does so behind `poll`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import EngineCard, Output, Request, Sampling
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Reservation


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One sample that is wanted."""

    question: str
    """Id of the question."""
    index: int
    """The sample's number among those of its question, in the order of their launch, from 0."""
    request: Request
    sampling: Sampling
    """Its seed is the sample's own: the text depends on (question, index, seed) alone."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What came of a draw; its cost is settled with the ledger already."""

    draw: Draw
    output: Output
    logprobs: tuple[float, ...] | None = None
    """Nats of each new token under the model's own law (temperature 1); None = not to be had."""
    entropies: tuple[float, ...] | None = None
    """Nats of each new token's law at temperature 1; None = not to be had."""
    failed: str = ""
    """Why nothing came, in words; empty when something did."""


class Sampler(Protocol):
    """Draws samples of many questions side by side."""

    card: EngineCard
    model: str
    """The name under which the user asked for it."""

    def bound(self, draw: Draw) -> Cost:
        """Return what the draw costs at most: prompt tokens, new tokens, calls, price, money."""

    def launch(self, draw: Draw, reservation: Reservation) -> None:
        """Start a draw; observed work is charged to the reservation, which ends with the draw."""

    def cancel(self, draw: Draw) -> None:
        """End a draw early: it comes back from `poll` as `cancelled`, with what it cost."""

    def poll(self) -> Sequence[Drawn]:
        """Wait until at least one draw has ended; return all that have. Empty: none is running."""

    def close(self) -> None:
        """End everything that is still running and let go of connections and memory."""
