"""Stop when an urn gives the leader a good chance to have most of all N votes: a heuristic.

The samples that are left are predicted from those seen as draws from a Pólya urn: the predictive
law of a Dirichlet prior over the shares of answers, which is assumed (as in Adaptive-Consistency,
arXiv:2305.11860, whose criterion compares the shares themselves). Ours: the question is who leads
after all N samples, answered exactly for all rivals at once; it stops when the chance of another
majority is at most dial (N - n) / N, in proportion to the samples that are saved; and the prior's
weights and the usual dial, chosen on calibration questions. Dial 0 draws all N. The chance is a
statement under that prior and not corrected for repeated looks: no error rate. `agreement` promises
one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.urn import Balls, Urn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class UrnVote:
    """Stops when the leader will probably be the majority of all samples."""

    each: float = 0.5
    """Prior weight of every answer that was given, in votes."""
    unseen: float = 2.0
    """Prior weight of answers that were not given yet, in votes."""

    card: ClassVar[Card] = Card(
        name="urn",
        title="stops when the leader is predicted to be the majority of all samples",
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
        usual=0.25,
    )

    def __post_init__(self) -> None:
        """Refuse weights below 0."""
        for name, value in (("each", self.each), ("unseen", self.unseen)):
            if not 0 <= value < math.inf:
                raise MethodError(
                    f"`urn.{name}` must be a number from 0, got `{value}`",
                    hint="it is a prior weight, in votes",
                )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule that allows that chance of another majority; 0 draws all samples."""
        return Drawing(rule=Urn(allowed=dial, balls=Balls(each=self.each, unseen=self.unseen)))
