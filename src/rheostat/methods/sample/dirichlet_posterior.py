"""Stop when a Dirichlet posterior gives every rival little chance to overtake: a heuristic.

The other N - n samples are predicted by a Dirichlet prior of one pseudo-vote for the leader, one
for the rival, and one for everything else (arXiv:2305.11860 compares such rules). It stops when
P(the nearest rival ends ahead) <= dial: a statement under that prior, for one rival, not corrected
for repeated looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.stop_rules import Counted, DirichletPosterior

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class DirichletVote:
    """Stops when the posterior predictive chance of being overtaken is small."""

    card: ClassVar[Card] = Card(
        name="dirichlet_posterior",
        title="stops when the posterior chance of being overtaken is small",
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
        """Return the rule of that chance; dial 0 draws all samples."""
        return Drawing(rule=Counted(enough=DirichletPosterior(chance=dial)))
