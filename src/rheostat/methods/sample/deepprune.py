"""DeepPrune: unfinished samples that will end alike are pruned but for one (arXiv:2510.08483).

Every sample waits at a length; a judge says of pairs whether they will have the same answer, and
greedy clustering in launch order lets one of each cluster go on. The dial sets the threshold of
the judge, 1 - dial; dial 0 prunes nothing and is the majority of N. Ours: votes weigh the size of
the cluster, and a cluster has one representative to compare with. The judge is the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.cluster_pruning import Clusters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class DeepPrune:
    """Lets one of several alike samples go on."""

    length: int = 16
    """New tokens at which samples are compared."""
    most: int = 8
    """Clusters that are kept at most."""

    card: ClassVar[Card] = Card(
        name="deepprune",
        title="prunes unfinished samples that will end in the same answer",
        seam="sample",
        exactness="lossy",
        paper="arXiv:2510.08483",
        paper_title="DeepPrune: Parallel Scaling without Inter-trace Redundancy",
        authors="Shangqing Tu, Yaxuan Li, Yushi Bai, Lei Hou, Juanzi Li",
        needs=frozenset({"sample", "sample.pause", "sample.compare"}),
        usual=0.5,
    )

    def __post_init__(self) -> None:
        """Refuse lengths and numbers below 1."""
        for name, value in (("length", self.length), ("most", self.most)):
            if value < 1:
                raise MethodError(f"`deepprune.{name}` must be at least 1, got `{value}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Clusters:
        """Return the machine of threshold 1 - dial."""
        threshold = 1.0 - dial if dial > 0 else None
        return Clusters(threshold=threshold, length=self.length, most=self.most)
