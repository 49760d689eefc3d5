"""LLM-Drop: leave out the sub-layers that change the residual stream least (arXiv 2406.15786).

Importance of a unit: 1 - mean over tokens of cos(x, x + unit(norm(x))), measured once on text;
the least important units are left out for good, norm and cache slot included. The dial sets how
many: round(dial x floor(max_share x units)), nested.

Ours: `order=loss` ranks by the measured increase of the loss when one unit alone is left out,
which also sees units whose small change matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape

PARTS: Mapping[str, tuple[str, ...]] = {
    "attention": ("attention",),
    "mlp": ("mlp",),
    "joint": ("attention", "mlp"),
    "layer": ("layer",),
}
"""What can be left out -> the kinds of unit that it names."""

Unit = tuple[str, int]
"""A kind (`attention`, `mlp` or `layer`) and a layer's index."""


@final
@dataclass(frozen=True, kw_only=True)
class LlmDrop:
    """Leaves out the most redundant sub-layers, ranked once on text."""

    unit: str = "attention"
    """`attention`, `mlp`, `joint` (both kinds in one ranking) or `layer`."""
    max_share: float = 0.5
    """Share of the units left out at dial 1."""
    order: str = "similarity"
    """`similarity` (the paper's) or `loss` (measured, one unit at a time)."""

    card: ClassVar[Card] = Card(
        name="llm_drop",
        title="leaves out the sub-layers that change the residual stream least",
        seam="depth",
        exactness="lossy",
        paper="arXiv:2406.15786",
        paper_title="What Matters in Transformers? Not All Attention is Needed",
        authors="Shwai He, Guoheng Sun, Zheyu Shen, Ang Li",
        needs=frozenset({"depth.static"}),
        reads=frozenset({"redundancy"}),
        variants=({"unit": "attention"}, {"unit": "mlp"}, {"unit": "joint"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        checked_units("llm_drop", self.unit, self.max_share)
        if self.order not in {"similarity", "loss"}:
            raise MethodError(
                f"`llm_drop.order` must be `similarity` or `loss`, got `{self.order}`"
            )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Take the ranking of the units, most droppable first."""
        try:
            redundancy = profile["redundancy"]
            if self.order == "similarity":
                ranked = _named(self.unit, redundancy["ranking"][self.unit])
            else:
                ranked = _by_loss(self.unit, redundancy)
        except (KeyError, TypeError, ValueError):
            raise MethodError(
                f"`llm_drop` found no ranking of `{self.unit}` by {self.order} in the profile",
                hint="measure it with `rheostat profile MODEL --out profile.json`",
            ) from None
        return {"ranking": [list(unit) for unit in ranked]}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Depth:
        """Leave out the dial's share of the units, the most droppable first."""
        ranked = [(str(kind), int(layer)) for kind, layer in fitted.get("ranking", ())]
        if sorted(ranked) != sorted(units_of(self.unit, shape)):
            raise MethodError(
                f"the ranking of `llm_drop` does not list every `{self.unit}` of this model's "
                f"{shape.layers} layers once",
                hint="make the plan again with `rheostat plan` for this model and these parameters",
            )
        return without_first(ranked, dial, self.max_share, shape)


def checked_units(method: str, unit: str, max_share: float) -> None:
    """Refuse an unknown unit or a share outside (0, 1]."""
    if unit not in PARTS:
        raise MethodError(
            f"`{method}.unit` is unknown: `{unit}`", hint=f"choose one of: {', '.join(PARTS)}"
        )
    if not 0.0 < max_share <= 1.0:
        raise MethodError(f"`{method}.max_share` must be in (0, 1], got `{max_share}`")


def units_of(unit: str, shape: ModelShape) -> list[Unit]:
    """List what can be left out of a model, from the first layer to the last."""
    return [(kind, layer) for layer in range(shape.layers) for kind in PARTS[unit]]


def without_first(units: Sequence[Unit], dial: float, max_share: float, shape: ModelShape) -> Depth:
    """Leave out the first units of an order: as many as the dial's share of `max_share`."""
    count = steps(dial, math.floor(max_share * len(units)))
    dropped = units[:count]
    return Depth(
        Layout.full(shape.layers).without(
            attention=[layer for kind, layer in dropped if kind != "mlp"],
            mlp=[layer for kind, layer in dropped if kind != "attention"],
        )
    )


def _named(unit: str, ranking: Sequence[Any]) -> list[Unit]:
    if unit == "joint":
        return [(str(kind), int(layer)) for kind, layer in ranking]
    return [(unit, int(layer)) for layer in ranking]


def _by_loss(unit: str, redundancy: Mapping[str, Any]) -> list[Unit]:
    losses = [
        (float(loss), (kind, layer))
        for kind in PARTS[unit]
        for layer, loss in enumerate(redundancy[kind]["drop_loss"])
    ]
    return [named for _, named in sorted(losses)]
