"""Control of the stop seam: ends a sequence by lot, whatever it says.

After each token it ends with the chance d / `tokens` at dial d: after `tokens` / d of them on
average. Dial 0 is the natural end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.stop_early import Lots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class RandomLength:
    """Stops by lot."""

    tokens: int = 16
    """Mean number of new tokens at dial 1."""

    card: ClassVar[Card] = Card(
        name="random_length",
        title="ends a sequence by lot",
        seam="stop",
        exactness="lossy",
        paper="control",
        needs=frozenset({"stop"}),
        control=True,
    )

    def __post_init__(self) -> None:
        """Refuse an empty sequence."""
        if self.tokens < 1:
            raise MethodError(f"`random_length.tokens` must be at least 1, got `{self.tokens}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Lots:
        """Return the lot of that mean."""
        return Lots(chance=dial / self.tokens)
