"""One greedy sample beside drawn ones, and the one most like the others wins (arXiv:2506.20544).

Hedged sampling draws N - 1 samples at the plan's temperature and one greedily, so that the pool
never lacks it. The answer is chosen by minimum Bayes risk: a judge is asked of every pair whether
both have the same answer. With a judge that compares answers exactly it is the majority. The dial
(ours) draws round((1 - dial) N) samples; the paper's evidence in a second language is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.pairwise import Pairwise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


def first_greedy(index: int) -> float | None:
    """Return 0 for the first sample, the plan's temperature for the others."""
    return 0.0 if index == 0 else None


@final
@dataclass(frozen=True, kw_only=True)
class Hedged:
    """A hedged pool and a choice in pairs."""

    card: ClassVar[Card] = Card(
        name="hedged",
        title="adds a greedy sample to the pool and takes the one most like the others",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2506.20544",
        paper_title=(
            "When Life Gives You Samples: The Benefits of Scaling up Inference "
            "Compute for Multilingual LLMs"
        ),
        authors="Ammar Khairi, Daniel D'souza, Ye Shen, Julia Kreutzer, Sara Hooker",
        needs=frozenset({"sample", "sample.temperature", "sample.compare"}),
        usual=0.0,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Pairwise:
        """Return the choice among (1 - dial) N samples."""
        return Pairwise(kept=1.0 - dial, temperature=first_greedy)
