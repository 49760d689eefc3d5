"""Stop early, and answer otherwise than the majority of all N at most with probability alpha.

The dial is alpha. For every fixed distribution of answers, P(stopped before N and the answers
differ) <= alpha, coupled on the same draws and with ties to the earliest launch: frequentist, no
prior. The rule and its proof (`kernel/policies/agreement.py`) are ours; adaptive self-consistency
(arXiv:2305.11860) stops on a posterior instead. Dial 0 draws all N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.agreement import Agreement
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.stop_rules import Counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class AgreementVote:
    """Stops when the majority of N is known well enough."""

    card: ClassVar[Card] = Card(
        name="agreement",
        title="stops early and rarely answers otherwise than the majority of all samples",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2305.11860",
        paper_title=(
            "Let's Sample Step by Step: Adaptive-Consistency for Efficient "
            "Reasoning and Coding with LLMs"
        ),
        authors="Pranjal Aggarwal, Aman Madaan, Yiming Yang, {Mausam}",
        needs=frozenset({"sample"}),
        by_confidence=True,
        usual=0.05,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule of alpha = dial."""
        rule = Agreement(alpha=dial)
        return Drawing(rule=Counted(enough=rule, wait=rule.wait))
