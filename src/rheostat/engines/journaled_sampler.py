"""A sampler with a journal: what is in it is given back, never drawn or paid for twice.

A run that goes on after a kill asks the same draws in the same order; those that ended come back
from the store with the cost that they had, so decisions and accounts are those of the first time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast, final

from rheostat.engines.sampler import Held

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import EngineCard
    from rheostat.engines.sample_store import SampleStore
    from rheostat.engines.sampler import Draw, Drawn, Pausing, Probing, Sampler
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
        self._given: list[Drawn | Held] = []
        self._held: dict[tuple[str, int], deque[Drawn | Held]] = {}
        """What known draws that wait will give, in its order."""

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
        self._held[draw.key] = deque([*self._store.held(draw), known.drawn(draw)])
        self._give(draw)

    def resume(self, draw: Draw) -> None:
        """Let a draw that waits go on."""
        if draw.key in self._held:
            self._give(draw)
        else:
            cast("Pausing", self._sampler).resume(draw)

    def cancel(self, draw: Draw) -> None:
        """End a draw early; one that is known ends as it did, after what it waited for."""
        if draw.key in self._held:
            self._given.append(self._held.pop(draw.key)[-1])
        elif not self.is_known(draw):
            self._sampler.cancel(draw)

    def poll(self) -> Sequence[Drawn | Held]:
        """Return what is known, else wait for the sampler; what waits is kept."""
        if self._given:
            given, self._given = self._given, []
            return given
        found = self._sampler.poll()
        self._store.hold(one for one in found if isinstance(one, Held))
        return found

    @property
    def probing(self) -> Probing:
        """The sampler, where it offers `sample.probe`."""
        return cast("Probing", self._sampler)

    def _give(self, draw: Draw) -> None:
        coming = self._held[draw.key]
        self._given.append(coming.popleft())
        if not coming:
            del self._held[draw.key]

    def close(self) -> None:
        """Close the sampler."""
        self._sampler.close()
