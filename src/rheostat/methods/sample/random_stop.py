"""Control: stop by lot, whatever the samples say, and answer with the majority of what was seen.

After each sample it stops with a chance p such that, on average, round((1 - dial) N) samples are
drawn (of N at most): the same tokens as a rule that looks, without the look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.lot import Lot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class RandomStop:
    """Stops by lot."""

    card: ClassVar[Card] = Card(
        name="random_stop",
        title="stops drawing by lot",
        seam="sample",
        exactness="lossy",
        paper="control",
        needs=frozenset({"sample"}),
        control=True,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the lot of that mean; dial 0 draws all samples."""
        return Drawing(rule=Lot(kept=1.0 - dial))
