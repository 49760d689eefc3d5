"""RPC: a vote of distinct paths by their probability, improbable ones pruned (arXiv:2502.00511).

Perplexity consistency sums the probabilities of the distinct paths to an answer; reasoning pruning
leaves out those that a two-part Weibull mixture counts to the lower part
(`kernel/policies/path_weights.py`). With equal probabilities and distinct texts it is the majority.
Ours: no pruning under 8 paths, and the dial, which draws round((1 - dial) N) samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.kernel.method import Card
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.fixed_number import FixedNumber
from rheostat.kernel.policies.path_weights import by_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class Rpc:
    """The vote of distinct paths by their probability."""

    prune: bool = True
    """Whether improbable paths are left out."""

    card: ClassVar[Card] = Card(
        name="rpc",
        title="answers by the probability of distinct reasoning paths, improbable ones pruned",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2502.00511",
        paper_title=(
            "Bridging Internal Probability and Self-Consistency for Effective and "
            "Efficient LLM Reasoning"
        ),
        authors="Zhi Zhou, Yuhao Tan, Zenan Li, Yuan Yao, Lan-Zhe Guo, Xiaoxing Ma, Yu-Feng Li",
        needs=frozenset({"sample", "sample.logprobs"}),
        usual=0.0,
    )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Drawing:
        """Return the vote of (1 - dial) N samples."""
        weigh = partial(by_path, prune=self.prune)
        return Drawing(rule=FixedNumber(kept=1.0 - dial, weigh=weigh))
