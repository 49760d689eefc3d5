"""Which draft sources pay over a setting: each at its dials, and several together.

Sources are priced by replaying the base's answers, so that looking costs no forward pass. One
source after another joins the cheapest set as long as that makes it cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rheostat.kernel.plan import Setting
from rheostat.stages.space import DIALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rheostat.stages.pricing import Priced, Pricing

    Settings = tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True)
class Drafted:
    """A set of draft sources over a setting, with what both together cost."""

    drafts: Settings
    priced: Priced
    ratio: float
    """Price as a share of the base's."""


@final
class Drafting:
    """The draft sources of one engine, priced over the base when this is made."""

    def __init__(self, pricing: Pricing, names: Sequence[str]) -> None:
        """Look at every source at every dial over the base."""
        self._pricing = pricing
        self._names = names
        self.over_base = self.sweep((), 1.0)
        self._usual = self._likely(self.over_base)

    def sweep(self, under: Settings, mlp_share: float) -> list[Drafted]:
        """Price every source at every dial over a setting, then sets of them."""
        found: list[Drafted] = []
        best: list[Drafted] = []
        for name in self._names:
            own = self._dials(name, under, mlp_share)
            found += own
            best.append(_cheapest(own))
        best.sort(key=lambda drafted: drafted.ratio)
        if not best:
            return []
        chosen = best[0]
        for other in best[1:]:
            joined = self._over(under, mlp_share, (*chosen.drafts, *other.drafts))
            found.append(joined)
            chosen = _cheapest([chosen, joined])
        return found

    def likely(self, under: Settings, mlp_share: float) -> Drafted:
        """Return the cheapest of no drafts, what pays best over the base, and each source alone."""
        sets = ((), *self._usual)
        return _cheapest(self._over(under, mlp_share, drafts) for drafts in sets)

    def _dials(self, name: str, under: Settings, mlp_share: float) -> list[Drafted]:
        found: dict[float, Drafted] = {}
        for dial in DIALS["draft"]:
            drafted = self._over(under, mlp_share, (Setting(name=name, dial=dial),))
            found.setdefault(drafted.ratio, drafted)
        return list(found.values())

    def _over(self, under: Settings, mlp_share: float, drafts: Settings) -> Drafted:
        priced = self._pricing.priced((*under, *drafts), mlp_share)
        return Drafted(drafts=drafts, priced=priced, ratio=self._pricing.ratio(priced))

    def _likely(self, found: Sequence[Drafted]) -> list[Settings]:
        """Return the cheapest set over the base, and each source at its cheapest dial."""
        if not found:
            return []
        alone = [[d for d in found if [s.name for s in d.drafts] == [n]] for n in self._names]
        sets = [_cheapest(found).drafts, *(_cheapest(own).drafts for own in alone)]
        return sets[1:] if sets[0] in sets[1:] else sets


def _cheapest(drafted: Iterable[Drafted]) -> Drafted:
    """Return the cheapest; the first of those that are equal."""
    return min(drafted, key=lambda one: one.ratio)
