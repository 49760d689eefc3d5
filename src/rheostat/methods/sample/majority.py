"""Majority of a fixed number of samples: self-consistency (arXiv:2203.11171), the seam's base.

Ties go to the answer that was launched first, and a sample without an answer has no vote. Dial d
draws round((1 - d) N) samples, at least one: the best static setting, which every rule that looks
at the answers has to beat at equal tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.fixed_number import FixedNumber

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class Majority:
    """The majority of N samples."""

    card: ClassVar[Card] = Card(
        name="majority",
        title="answers with the majority of a fixed number of samples",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2203.11171",
        paper_title="Self-Consistency Improves Chain of Thought Reasoning in Language Models",
        authors=(
            "Xuezhi Wang, Jason Wei, Dale Schuurmans, Quoc Le, Ed Chi, Sharan Narang, "
            "Aakanksha Chowdhery, Denny Zhou"
        ),
        needs=frozenset({"sample"}),
        usual=0.0,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the vote of (1 - dial) N samples."""
        return Drawing(rule=FixedNumber(kept=1.0 - dial))
