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
    pauses: tuple[int, ...] = ()
    """New tokens after which it waits to be resumed or cancelled, ascending; a sample that has
    ended by then does not wait."""

    @property
    def key(self) -> tuple[str, int]:
        """What it is known by: question and index."""
        return self.question, self.index


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


@dataclass(frozen=True, kw_only=True)
class Held:
    """A draw that waits at one of its pauses; its reservation stays open."""

    draw: Draw
    tokens: int
    """New tokens so far."""
    token_ids: tuple[int, ...]
    text: str
    """Of those tokens; of a recording, which keeps whole texts alone, about as much of it."""
    logprobs: tuple[float, ...] | None = None
    """As `Drawn.logprobs`, of the tokens so far."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A text after a sample, and one-token choices whose probabilities are wanted there."""

    draw: Draw
    token_ids: tuple[int, ...]
    """The sample's new tokens."""
    suffix: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Read:
    """What came of a reading; its cost is settled with the ledger already."""

    probabilities: tuple[float, ...]
    """Of the choices, in their order; they sum to 1."""
    cost: Cost


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

    def poll(self) -> Sequence[Drawn | Held]:
        """Wait until a draw has ended or waits; return all that do. Empty: none is running."""

    def close(self) -> None:
        """End everything that is still running and let go of connections and memory."""


class Pausing(Protocol):
    """What a sampler that offers `sample.pause` does besides."""

    def resume(self, draw: Draw) -> None:
        """Let a draw that waits go on."""


class Probing(Protocol):
    """What a sampler that offers `sample.probe` does besides."""

    def reading_bound(self, reading: Reading) -> Cost:
        """Return what a reading costs at most.

        Raises:
            MethodError: choices that are no tokens of their own, or do not differ.
        """

    def read(self, reading: Reading, reservation: Reservation) -> Read:
        """Read the choices' probabilities; the sample itself is not changed by it."""
