"""Stop once the leading answer is some votes ahead: a heuristic, nothing is promised.

How often the answer is the majority of N depends on the question: a lead of three among many
rare answers says more than between two equal ones. The paper (arXiv:2305.11860) is the source of
adaptive self-consistency; the plain margin is folklore. Dial d asks for a lead of
round(margin + (1 - d) (N - margin)) votes; dial 0 draws all N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.stop_rules import Counted, LeadMargin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class LeadMarginVote:
    """Stops at a lead of some votes."""

    margin: int = 3
    """Votes ahead at dial 1."""

    card: ClassVar[Card] = Card(
        name="lead_margin",
        title="stops once the leading answer is some votes ahead",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2305.11860",
        needs=frozenset({"sample"}),
    )

    def __post_init__(self) -> None:
        """Refuse a lead that is none."""
        if self.margin < 1:
            raise MethodError(f"`lead_margin.margin` must be at least 1, got `{self.margin}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule whose margin shrinks from N to the parameter."""
        return Drawing(rule=Counted(enough=LeadMargin(margin=self.margin, dial=dial)))
