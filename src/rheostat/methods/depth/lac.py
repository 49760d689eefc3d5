"""L2 Adaptive Computation as a static ranking: layers that are void for most tokens go first.

The paper marks a layer as void for a token when it hardly changes the length of the token's state
(`kernel.policies.voids`), and lets the last layer that is not void speak. As published this is a
way to look into a model and saves nothing, because a layer has to be run to be judged. Ours: how
often each layer is void is counted once on text (the profile's trace), and the most often void
ones are left out for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.methods.depth.llm_drop import checked_units, without_first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Depth


@final
@dataclass(frozen=True, kw_only=True)
class Lac:
    """Leaves out the layers that are void most often."""

    alpha: float = 0.8
    """Share of the range of earlier changes below which a layer is void; one that was traced."""
    max_share: float = 0.5
    """Share of the layers left out at dial 1."""

    card: ClassVar[Card] = Card(
        name="lac",
        title="leaves out the layers that most often leave a state's length as it was",
        seam="depth",
        exactness="lossy",
        paper="arXiv:2505.14467",
        paper_title="Void in Language Models",
        authors="Mani Shemiranifar",
        needs=frozenset({"depth.static"}),
        reads=frozenset({"redundancy"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        checked_units("lac", "layer", self.max_share)

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Rank the layers by how often they were void; of equals the later one goes first."""
        try:
            traced = profile["redundancy"]["void"]
            shares = dict(zip(traced["alpha"], traced["share"], strict=True))
        except (KeyError, TypeError, ValueError):
            raise MethodError(
                "`lac` found no trace of void layers in the profile",
                hint="measure it with `rheostat profile MODEL --out profile.json`",
            ) from None
        if self.alpha not in shares:
            listed = ", ".join(f"`{alpha:g}`" for alpha in shares)
            raise MethodError(
                f"the profile traced no void layers at `lac.alpha={self.alpha:g}`",
                hint=f"traced: {listed}",
            )
        share = shares[self.alpha]
        return {"ranking": sorted(range(len(share)), key=lambda layer: (-share[layer], -layer))}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Depth:
        """Leave out the dial's share of the layers, the most often void first."""
        ranked = [int(layer) for layer in fitted.get("ranking", ())]
        if sorted(ranked) != list(range(shape.layers)):
            raise MethodError(
                f"the ranking of `lac` does not list the model's {shape.layers} layers once",
                hint="make the plan again with `rheostat plan` for this model and these parameters",
            )
        return without_first([("layer", layer) for layer in ranked], dial, self.max_share, shape)
