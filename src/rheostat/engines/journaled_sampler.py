"""A sampler with a journal: what is in it is given back, never drawn or paid for twice.

A run that goes on after a kill asks the same draws in the same order; those that ended come back
from the store with the cost that they had, so decisions and accounts are those of the first time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import EngineCard
    from rheostat.engines.sample_store import SampleStore
    from rheostat.engines.sampler import Draw, Drawn, Sampler
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Reservation


@final
class JournaledSampler:
    """The samplers' interface over a sampler and a store."""

    def __init__(self, sampler: Sampler, store: SampleStore) -> None:
        """Read which draws were started by earlier processes, and what was reserved for them."""
        self.card: EngineCard = sampler.card
        self.model = sampler.model
        self._sampler = sampler
        self._store = store
        self._bounds = store.bounds()
        self._given: list[Drawn] = []

    def bound(self, draw: Draw) -> Cost:
        """Return the bound under which the draw was first reserved, else the sampler's."""
        return self._bounds.get((draw.question, draw.index)) or self._sampler.bound(draw)

    def fresh_bound(self, draw: Draw) -> Cost:
        """Return what the draw costs at most when it is drawn now."""
        return self._sampler.bound(draw)

    def is_known(self, draw: Draw) -> bool:
        """Return whether the draw has ended before."""
        return self._store.holds(draw.question, draw.index)

    def was_lost(self, draw: Draw) -> bool:
        """Return whether an earlier process ended while the draw ran, at a cost nobody knows."""
        started = (draw.question, draw.index) in self._bounds
        return started and not self.is_known(draw) and "simulated" not in self.card.offers

    def launch(self, draw: Draw, reservation: Reservation) -> None:
        """Give a known draw back with the next poll; start any other."""
        known = self._store.get(draw.question, draw.index) if self.is_known(draw) else None
        if known is None:
            self._sampler.launch(draw, reservation)
            return
        reservation.settle(known.cost)
        self._given.append(known.drawn(draw))

    def cancel(self, draw: Draw) -> None:
        """End a draw early; one that is known has ended."""
        if not self.is_known(draw):
            self._sampler.cancel(draw)

    def poll(self) -> Sequence[Drawn]:
        """Return what is known, else wait for the sampler."""
        if not self._given:
            return self._sampler.poll()
        given, self._given = self._given, []
        return given

    def close(self) -> None:
        """Close the sampler."""
        self._sampler.close()
