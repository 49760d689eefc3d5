"""Stop when answers that end confidently agree: a heuristic, nothing is promised.

A sample weighs the geometric mean probability of its last tokens (arXiv:2508.15260 weighs traces
by the confidence of their tail and stops at a consensus). It stops when the leading answer holds
1 - dial of all weight, after `least` samples. Dial 0 draws all N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.tail_share import TailShare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class ConfidenceTail:
    """Stops at a share of the weight."""

    tail: int = 16
    """Last tokens that weigh a sample."""
    least: int = 4
    """Samples before the first stop."""

    card: ClassVar[Card] = Card(
        name="confidence_tail",
        title="stops when answers that end confidently agree",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2508.15260",
        paper_title="Deep Think with Confidence",
        authors="Yichao Fu, Xuewei Wang, Yuandong Tian, Jiawei Zhao",
        needs=frozenset({"sample", "sample.logprobs"}),
        usual=0.1,
    )

    def __post_init__(self) -> None:
        """Refuse an empty tail, and a stop before there is a sample."""
        for name, value in (("tail", self.tail), ("least", self.least)):
            if value < 1:
                raise MethodError(f"`confidence_tail.{name}` must be at least 1, got `{value}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the rule of share 1 - dial; dial 0 draws all samples."""
        threshold = 1.0 - dial if dial > 0 else None
        return Drawing(rule=TailShare(threshold=threshold, tail=self.tail, least=self.least))
