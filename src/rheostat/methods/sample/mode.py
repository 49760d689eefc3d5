"""Name the most probable answer with an error of at most alpha, or leave it undecided.

The dial is alpha: for every distribution, P(an answer is declared that is not the most probable
one) <= alpha at whatever time it stops; frequentist, no prior. Two equal modes stay undecided, with
probability at least 1 - alpha. Without a decision after N samples their majority is the answer, not
settled. The rule and its proof are in `kernel/policies/mode.py`; the question is that of mode
estimation by betting (arXiv:2109.05047), the weights of many answers are ours. Dial 0 draws all N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.mode import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class ModeVote:
    """Stops when the most probable answer is known well enough."""

    card: ClassVar[Card] = Card(
        name="mode",
        title="stops when the most probable answer is known well enough",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2109.05047",
        paper_title="PAC Mode Estimation using PPR Martingale Confidence Sequences",
        authors=(
            "Shubham Anand Jain, Rohan Shah, Sanit Gupta, Denil Mehta, Inderjeet J. Nair, "
            "Jian Vora, Sushil Khyalia, Sourav Das, Vinay J. Ribeiro, Shivaram "
            "Kalyanakrishnan"
        ),
        needs=frozenset({"sample"}),
        by_confidence=True,
        usual=0.05,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule of alpha = dial."""
        return Drawing(rule=Mode(alpha=dial))
