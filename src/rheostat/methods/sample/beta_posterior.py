"""Stop when a Beta posterior of the two leading answers is sure (arXiv:2305.11860): a heuristic.

P(share of the leader > 1/2) under Beta(x + 1, y + 1) is compared with 1 - dial after every
sample. It assumes a uniform prior and two answers, and repeated looks are not corrected for: the
threshold is no error rate. `agreement` keeps one. Ours: it is asked of the prefix in launch order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.stop_rules import BetaPosterior, Counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class BetaVote:
    """Stops when the posterior of the leader's majority is sure."""

    card: ClassVar[Card] = Card(
        name="beta_posterior",
        title="stops when a Beta posterior of the two leading answers is sure",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2305.11860",
        needs=frozenset({"sample"}),
        by_confidence=True,
        usual=0.05,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule of threshold 1 - dial; dial 0 draws all samples."""
        return Drawing(rule=Counted(enough=BetaPosterior(threshold=1.0 - dial)))
