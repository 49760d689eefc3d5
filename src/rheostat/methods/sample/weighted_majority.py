"""Majority weighted by the model's own confidence in each sample: a heuristic.

A sample weighs exp(sharpness x mean log-probability of its tokens), the inverse of its perplexity
at sharpness 1. It draws as many samples as `majority` at the same dial, which is this vote with
sharpness 0. A sample whose log-probabilities are not to be had weighs what the others weigh on
average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.fixed_number import FixedNumber
from rheostat.kernel.policies.vote_weights import by_perplexity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class WeightedMajority:
    """The vote of samples by their perplexity."""

    sharpness: float = 1.0
    """How much perplexity matters; 0 = every sample counts 1."""

    card: ClassVar[Card] = Card(
        name="weighted_majority",
        title="answers with the majority weighted by the model's own confidence",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2203.11171",
        needs=frozenset({"sample", "sample.logprobs"}),
        usual=0.0,
    )

    def __post_init__(self) -> None:
        """Refuse to prefer what the model doubts."""
        if not 0 <= self.sharpness < math.inf:
            raise MethodError(
                f"`weighted_majority.sharpness` must be a number from 0, got `{self.sharpness}`"
            )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the weighted vote of (1 - dial) N samples."""
        weigh = partial(by_perplexity, sharpness=self.sharpness)
        return Drawing(rule=FixedNumber(kept=1.0 - dial, weigh=weigh))
