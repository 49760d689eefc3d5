"""Control of the depth seam: leave out sub-layers by their position alone, nested by the dial.

The same units and the same shares as `llm_drop`; `order` takes the last, the first, or a spread
that stays even at every dial (floor(n v) for the van der Corput numbers v = 1/2, 1/4, 3/4, ...).
`first` starts at layer 0 and `spread` ends there; no layer is protected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.methods.depth.llm_drop import checked_units, units_of, without_first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Depth


@final
@dataclass(frozen=True, kw_only=True)
class ConstantDepth:
    """Leaves out sub-layers in an order that knows only their position."""

    unit: str = "attention"
    """`attention`, `mlp`, `joint` or `layer`."""
    max_share: float = 0.5
    """Share of the units left out at dial 1."""
    order: str = "last"
    """`last`, `first` or `spread`."""

    card: ClassVar[Card] = Card(
        name="constant_depth",
        title="leaves out sub-layers by their position alone",
        seam="depth",
        exactness="lossy",
        paper="control",
        needs=frozenset({"depth.static"}),
        control=True,
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        checked_units("constant_depth", self.unit, self.max_share)
        if self.order not in {"last", "first", "spread"}:
            raise MethodError(
                f"`constant_depth.order` must be `last`, `first` or `spread`, got `{self.order}`"
            )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Depth:
        """Leave out the first units of the order."""
        units = units_of(self.unit, shape)
        if self.order == "last":
            units.reverse()
        elif self.order == "spread":
            units = [units[i] for i in _spread(len(units))]
        return without_first(units, dial, self.max_share, shape)


def _spread(count: int) -> list[int]:
    """Order 0..count-1 so that every beginning of the order is spread evenly; 0 comes last."""
    bits = count.bit_length()
    size = 1 << bits
    fractions = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(1, size)]
    return list(dict.fromkeys([*(count * f // size for f in fractions), 0]))
