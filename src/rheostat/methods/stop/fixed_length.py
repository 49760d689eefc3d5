"""Control of the stop seam: ends every sequence after a fixed number of tokens.

The same tokens as a rule that looks at what is written, without the look. Dial d ends after
`tokens` / d new tokens; dial 0 is the natural end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.stop_early import Length, stretched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class FixedLength:
    """Stops at a length."""

    tokens: int = 16
    """New tokens at dial 1."""

    card: ClassVar[Card] = Card(
        name="fixed_length",
        title="ends every sequence at a fixed length",
        seam="stop",
        exactness="lossy",
        paper="control",
        needs=frozenset({"stop"}),
        control=True,
    )

    def __post_init__(self) -> None:
        """Refuse an empty sequence."""
        if self.tokens < 1:
            raise MethodError(f"`fixed_length.tokens` must be at least 1, got `{self.tokens}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Length:
        """Return the length."""
        return Length(tokens=stretched(self.tokens, dial))
