"""One request of the scripted engine while it runs: what was written, and what is unpaid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from rheostat.engines.base import Output
from rheostat.kernel.cost import Cost
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rheostat.engines.base import StopReason
    from rheostat.engines.constrained import ConstrainedRow
    from rheostat.engines.scripted_model import ToyModel
    from rheostat.engines.stopping import RowStop
    from rheostat.engines.transcript import Transcript
    from rheostat.kernel.ledger import Ledger, Reservation

CHUNK = 16
"""Passes of a row between two entries in the ledger."""


@final
@dataclass(kw_only=True)
class Row:
    """A request that was admitted."""

    id: str
    prompt: tuple[int, ...]
    limit: int
    """New tokens that the request, the context and the budget allow."""
    full: StopReason
    """The stop reason when the limit is reached."""
    reservation: Reservation
    transcript: Transcript
    rng: np.random.Generator
    """The row's own, so that it does not depend on its neighbours."""
    draft_state: Any = None
    limits: ConstrainedRow | None = None
    stop: RowStop | None = None
    """Where it ends before its natural end."""
    written: list[int] = field(default_factory=list)
    unpaid: Cost = field(default_factory=Cost)
    """Observed, not yet charged."""
    passes: int = 0
    trace: Trace = field(default_factory=Trace)
    stop_reason: StopReason | None = None

    def take(self, tokens: Sequence[int], toy: ToyModel) -> list[int]:
        """Write tokens one by one until one ends the row; return those that were written."""
        taken: list[int] = []
        for token in tokens:
            taken.append(token)
            if token == toy.end:
                self.stop_reason = "eos"
                break
            piece = " " * bool(self.written) + toy.vocabulary[token]
            self.written.append(token)
            if self.transcript.add(piece):
                self.stop_reason = "stop"
                break
            if len(self.written) == self.limit:
                self.stop_reason = self.full
            elif self.stop and self.stop.ends(self.written, self.transcript.text, self.trace):
                self.stop_reason = "stop"
                break
        return taken

    def count(self, cost: Cost) -> None:
        """Count a pass; charge after each chunk of them."""
        self.unpaid += cost
        self.passes += 1
        if self.passes % CHUNK == 0:
            self.reservation.charge(self.unpaid)
            self.unpaid = Cost()

    def finish(self) -> Output:
        """Settle the row and return what came of it."""
        assert self.stop_reason is not None
        self.reservation.settle(self.unpaid)
        return Output(
            id=self.id,
            text=self.transcript.finish(),
            token_ids=tuple(self.written),
            stop_reason=self.stop_reason,
            cost=self.reservation.charged,
            trace=self.trace,
        )

    def abandon(self) -> None:
        """Charge what was done and give the rest back."""
        self.reservation.charge(self.unpaid)
        self.reservation.cancel()


def stop_overdue(live: Sequence[Row], books: Ledger) -> None:
    """Stop all rows that still run when the deadline and its grace have passed."""
    elapsed = books.root.spent.seconds + sum(row.unpaid.seconds for row in live)
    if books.overdue(elapsed):
        for row in live:
            row.stop_reason = row.stop_reason or "budget"
