"""In which way the layers of a pass run, and the price table of each way.

Compiled steps are for passes whose sub-layers all run and whose keys and values lie in one piece.
A decision about MLPs, or entries that are let go, leaves them for smaller operations, which can
take several times as long: such passes have a table of their own, measured when a plan first asks
for it. They are never the cheaper ones: what is measured so is chance (ours).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.decoder import Decoder
    from rheostat.engines.torch_model import Feed
    from rheostat.kernel.model_cost import PriceTable
    from rheostat.kernel.seams import Depth, Installed

Way = Literal["plain", "decided", "compacted"]
"""All sub-layers of the layout run over whole caches; a policy decides about MLPs; rows let
entries go."""


@final
class Tables:
    """The price tables of one model."""

    def __init__(
        self, plain: PriceTable, measure: Callable[[Way], PriceTable] | None = None
    ) -> None:
        """Take the plain table, and what gives another way's; without it all ways cost the same."""
        self._known: dict[Way, PriceTable] = {"plain": plain}
        self._measure = measure

    def of(self, way: Way) -> PriceTable:
        """Return a way's table; the first time it may be measured, which takes some seconds."""
        if way not in self._known:
            plain = self._known["plain"]
            self._known[way] = self._measure(way).at_least(plain) if self._measure else plain
        return self._known[way]


def way_under(decoder: Decoder, installed: Installed | None) -> Way:
    """Return the way of a plan's passes."""
    if installed is None:
        return "plain"
    decided = installed.depth is not None and installed.depth.policy is not None
    return decoder.way(decided=decided, compacted=installed.cache is not None)


def way_of(decoder: Decoder, depth: Depth, feeds: Sequence[Feed]) -> Way:
    """Return the way of a pass."""
    compacted = any(feed.cache.borders is not None for feed in feeds)
    return decoder.way(decided=depth.policy is not None, compacted=compacted)
