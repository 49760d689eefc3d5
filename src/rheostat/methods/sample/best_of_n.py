"""Best of N by a verifier or a judge (arXiv:2408.03314 and many before it): the highest score wins.

A verifier's verdict counts 1 or 0 and costs no question; without one the judge scores every sample
in [0, 1]. Equal scores are broken by votes, then by the earliest launch, so that a constant score
gives the majority. Dial 0 draws all N; above it drawing stops at the first score of at least
1 - dial (ours), which with an exact verifier is stopping at the first success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.best_score import BestScore, judged
from rheostat.kernel.policies.drawing import Drawing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Answers with the sample of the highest score."""

    card: ClassVar[Card] = Card(
        name="best_of_n",
        title="answers with the sample that a verifier or judge likes best",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2408.03314",
        paper_title=(
            "Scaling LLM Test-Time Compute Optimally can be More Effective than "
            "Scaling Model Parameters"
        ),
        authors="Charlie Snell, Jaehoon Lee, Kelvin Xu, Aviral Kumar",
        needs=frozenset({"sample", "sample.score"}),
        usual=0.05,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule that stops at a score of 1 - dial; dial 0 draws all samples."""
        return Drawing(rule=BestScore(threshold=1.0 - dial if dial else None), ask=judged)
