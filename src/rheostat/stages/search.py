"""The points of a search: settings with what they are predicted to cost and what they lose."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from rheostat.catalog import method
from rheostat.stages.intervals import mean_interval, ratio_interval, standard_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.plan import Setting
    from rheostat.stages.pricing import Priced


class Step(Protocol):
    """A setting of a path."""

    @property
    def name(self) -> str:
        """The setting in words."""

    @property
    def price_ratio(self) -> float:
        """Its price, as a share of the base's."""

    @property
    def loss(self) -> float:
        """Its mean loss on the search's items."""

    def frozen(self) -> dict[str, Any]:
        """Return what it sets, as plain data."""


P = TypeVar("P", bound=Step)


Kind = Literal["base", "draft", "alone", "together"]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A cost as a share of the base's, with its 95 % interval over items."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """A setting with its predicted price and its loss on the calibration items."""

    settings: tuple[Setting, ...] = ()
    price_ratio: float = 1.0
    loss: float = 0.0
    losses: tuple[float, ...] = field(default=(0.0,), repr=False)
    """An entry an item that it was measured on, which are the first ones."""
    mlp_share: float = 1.0
    """Share of the layout's MLPs that a dynamic decision lets run."""
    costs: Mapping[str, Share] = field(default_factory=dict, repr=False, compare=False)
    """`price`, `flops` and `bytes`."""
    left: str = ""
    """Why it was measured on no more items; empty = it was measured on all."""

    @property
    def name(self) -> str:
        """The setting in words."""
        return " + ".join(setting_name(s) for s in self.settings) or "the base"

    @property
    def cautious(self) -> float:
        """Mean loss plus one standard error: what the search compares with the limit."""
        return self.loss + standard_error(self.losses)

    @property
    def kind(self) -> Kind:
        """What it is made of: drafts alone, one method with a loss, or several methods."""
        cards = [method(s.name).card for s in self.settings]
        if all(card.seam == "draft" for card in cards):
            return "draft" if cards else "base"
        return "alone" if len(cards) == 1 else "together"

    def frozen(self) -> dict[str, Any]:
        """Return what it sets; what methods were fitted to follows from it."""
        return {
            "methods": [
                {"name": s.name, "dial": s.dial, "params": dict(s.params)} for s in self.settings
            ]
        }

    def to_json(self, *, kept: bool) -> dict[str, Any]:
        """Return the frontier's entry."""
        entry: dict[str, Any] = {
            **self.frozen(),
            "kind": self.kind,
            "price_ratio": self.price_ratio,
            "loss": self.loss,
            "loss_interval": list(mean_interval(self.losses)),
            "items": len(self.losses),
            "costs": {n: [c.ratio, c.low, c.high] for n, c in self.costs.items()},
            "kept": kept,
        }
        return entry | ({"left": self.left} if self.left else {})


def shares(own: Priced, base: Priced) -> dict[str, Share]:
    """Return what a setting costs as shares of the base's costs."""
    found = {}
    for name in ("price", "flops", "bytes"):
        above, below = getattr(own, name), getattr(base, name)
        low, high = ratio_interval(above, below)
        found[name] = Share(ratio=float(above.sum() / below.sum()), low=low, high=high)
    return found


def setting_name(setting: Setting) -> str:
    """Return a setting in words, such as `llm_drop (unit=mlp) at 0.1`."""
    params = ", ".join(f"{name}={value}" for name, value in setting.params.items())
    return f"{setting.name}{f' ({params})' if params else ''} at {setting.dial:g}"


def settings_key(settings: Sequence[Setting]) -> str:
    """Return what tells settings apart; what they were fitted to follows from it."""
    return json.dumps([[s.name, s.dial, dict(s.params)] for s in settings], sort_keys=True)


def frontier(points: Sequence[P]) -> list[P]:
    """Return the points that no other point beats in both price and loss, cheapest first."""
    kept: list[P] = []
    for point in sorted(points, key=lambda p: (p.price_ratio, p.loss)):
        if not kept or point.loss < kept[-1].loss:
            kept.append(point)
    return kept


def falling(path: Sequence[P]) -> list[P]:
    """Return the points that are cheaper than all before them."""
    lows = accumulate((point.price_ratio for point in path), min, initial=inf)
    return [point for point, low in zip(path, lows, strict=False) if point.price_ratio < low]


def frontier_and_chosen(kept: Sequence[P], chosen: P) -> list[P]:
    """Return the frontier with the chosen point in it, cheapest first."""
    both = kept if chosen in kept else [*kept, chosen]
    return sorted(both, key=lambda p: (p.price_ratio, p.loss))
