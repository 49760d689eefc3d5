"""Control of the depth seam: leave out sub-layers drawn at random, nested by the dial.

The same units and the same shares as `llm_drop`, without its signal. No layer is protected, the
first neither: a ranking has to find out by itself what must stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

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
class RandomDepth:
    """Leaves out sub-layers in a random order."""

    unit: str = "attention"
    """`attention`, `mlp`, `joint` or `layer`."""
    max_share: float = 0.5
    """Share of the units left out at dial 1."""
    draw: int = 0
    """Seed of the order."""

    card: ClassVar[Card] = Card(
        name="random_depth",
        title="leaves out sub-layers in a random order",
        seam="depth",
        exactness="lossy",
        paper="control",
        needs=frozenset({"depth.static"}),
        control=True,
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        checked_units("random_depth", self.unit, self.max_share)
        if self.draw < 0:
            raise MethodError(f"`random_depth.draw` must be 0 or more, got `{self.draw}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Depth:
        """Leave out the first units of the drawn order."""
        units = units_of(self.unit, shape)
        order = np.random.default_rng(self.draw).permutation(len(units))
        return without_first([units[i] for i in order], dial, self.max_share, shape)
