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

    def likely(self, under: Settings, mlp_share: float) -> tuple[Drafted, Drafted]:
        """Return a setting without drafts, and with what pays best over the base if it pays."""
        alone = self._over(under, mlp_share, ())
        if not self.over_base:
            return alone, alone
        usual = self._over(under, mlp_share, _cheapest(self.over_base).drafts)
        return alone, _cheapest([alone, usual])

    def _dials(self, name: str, under: Settings, mlp_share: float) -> list[Drafted]:
        found: dict[float, Drafted] = {}
        for dial in DIALS["draft"]:
            drafted = self._over(under, mlp_share, (Setting(name=name, dial=dial),))
            found.setdefault(drafted.ratio, drafted)
        return list(found.values())

    def _over(self, under: Settings, mlp_share: float, drafts: Settings) -> Drafted:
        priced = self._pricing.priced((*under, *drafts), mlp_share)
        return Drafted(drafts=drafts, priced=priced, ratio=self._pricing.ratio(priced))


def _cheapest(drafted: Iterable[Drafted]) -> Drafted:
    """Return the cheapest; the first of those that are equal."""
    return min(drafted, key=lambda one: one.ratio)
