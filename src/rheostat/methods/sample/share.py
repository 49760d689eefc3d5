"""Stop once one answer has a large share of the samples: a heuristic, nothing is promised.

Dial d asks for a share of 1 - d after at least `least` samples. The rule of its-hub's adaptive
self-consistency (share 0.75 after two samples, looked at when the number has doubled) is a
relative: two equal answers out of two satisfy it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.stop_rules import Counted, Share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class ShareVote:
    """Stops at a share of the samples."""

    least: int = 4
    """Samples before the first stop."""

    card: ClassVar[Card] = Card(
        name="share",
        title="stops once one answer has a large share of the samples",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2203.11171",
        needs=frozenset({"sample"}),
        usual=0.25,
    )

    def __post_init__(self) -> None:
        """Refuse to stop before there is a sample."""
        if self.least < 1:
            raise MethodError(f"`share.least` must be at least 1, got `{self.least}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule of share 1 - dial; dial 0 draws all samples."""
        return Drawing(rule=Counted(enough=Share(dial=dial, least=self.least)))
