"""Stop when the model says that a fresh try would not be better (arXiv:2410.02725).

After each sample a short question is appended and one token is read: the probability of No against
Yes is the chance that starting over would not give a better response. It stops at 1 - dial and
answers with the best sample; dial 0 draws all N and takes the best. The wording is ours, and the
model is asked as it is: the paper trains it for the question. Temperatures rise from greedy as
hottest (1 - 2^-k) with the sample's number k when `hottest` is set (the paper's schedule as
recalled).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.best_score import BestScore
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.samples import Ended, Probe, SampleStart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape

QUESTION = "\n\nWould starting over give a better response? Answer with Yes or No:"
CHOICES = (" No", " Yes")


def evaluation(ended: Ended, start: SampleStart) -> Probe | None:
    """Ask about a sample that gave an answer."""
    if ended.answer is None:
        return None
    return Probe(index=ended.index, suffix=QUESTION, choices=CHOICES)


def risen(hottest: float, index: int) -> float:
    """Return the temperature of the sample of an index: 0, 1/2, 3/4, … of the hottest."""
    return hottest * (1 - 0.5**index)


@final
@dataclass(frozen=True, kw_only=True)
class SelfEvaluation:
    """Stops when the model would not start over."""

    hottest: float = 0.0
    """Temperature that the schedule rises to; 0 = the plan's temperature throughout."""

    card: ClassVar[Card] = Card(
        name="self_evaluation",
        title="stops when the model says that a fresh try would not be better",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2410.02725",
        paper_title=(
            "Adaptive Inference-Time Compute: LLMs Can Predict if They Can Do "
            "Better, Even Mid-Generation"
        ),
        authors="Rohin Manvi, Anikait Singh, Stefano Ermon",
        needs=frozenset({"sample", "sample.probe", "sample.temperature"}),
        usual=0.3,
    )

    def __post_init__(self) -> None:
        """Refuse temperatures below 0."""
        if not 0 <= self.hottest < math.inf:
            raise MethodError(
                f"`self_evaluation.hottest` must be a number from 0, got `{self.hottest}`",
                hint="leave it out for the plan's temperature",
            )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule that stops at an evaluation of 1 - dial."""
        schedule = partial(risen, self.hottest) if self.hottest else None
        rule = BestScore(threshold=1.0 - dial if dial else None)
        return Drawing(rule=rule, ask=evaluation, temperature=schedule)
