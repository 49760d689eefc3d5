"""Stop once the samples that are left cannot overtake the leading answer.

At a small dial the answer is certainly the majority of N. Dial d lets a rival gain
(1 - d) (N - n) votes at most of the N - n that are left: above 0 a wager, and nothing is promised.
Dial 0 draws all samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.stop_rules import Counted, Overtaken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class OvertakenVote:
    """Stops when nothing that is left can change the answer."""

    card: ClassVar[Card] = Card(
        name="overtaken",
        title="stops once the samples that are left cannot overtake the leader",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2305.11860",
        needs=frozenset({"sample"}),
        usual=1e-6,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule that lets a rival gain that share of what is left."""
        return Drawing(rule=Counted(enough=Overtaken(dial=dial)))
