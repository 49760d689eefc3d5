"""SpecDec++: an acceptance head says after each draft token whether to go on (arXiv 2405.19715).

The head reads the draft's last hidden state of a drafted token: x <- x + SiLU(W x + b) three times
and a linear layer to the probability a that the token will be accepted. Drafting stops when
1 - a(1) a(2) ... passes a threshold; the newest token has no score yet and is kept all the same.

The three blocks have weights of their own; the released code repeats one block object, so its
blocks share theirs. Ours: an early exit drafts, so the head costs one model alone; without a
threshold the rule looks ahead on the measured costs, with the head's outputs corrected for the
weight of refusals in its loss; and the controller says whether to draft at all. The head comes from
`rheostat profile MODEL --acceptance`. Exploration allowance: the controller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.policies.draft_stop import LookAhead, Threshold
from rheostat.kernel.policies.model_drafts import ModelSource
from rheostat.kernel.seams import Forward
from rheostat.methods.draft.self_draft import exit_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class SpecDecPP:
    """Drafts by an early exit, for as long as its tokens are likely to be accepted."""

    threshold: float = -1.0
    """Probability of a refusal at which drafting stops, in [0, 1]; negative = look ahead."""
    least: int = 2
    """Tokens of a draft that a threshold never stops."""
    max_draft: int = 20
    """Longest draft at dial 1."""

    card: ClassVar[Card] = Card(
        name="specdec_pp",
        title="drafts by an early exit until a head expects a refusal",
        seam="draft",
        exactness="distribution",
        paper="arXiv:2405.19715",
        paper_title="SpecDec++: Boosting Speculative Decoding via Adaptive Candidate Lengths",
        authors="Kaixuan Huang, Xudong Guo, Mengdi Wang",
        needs=frozenset({"draft", "draft.model"}),
        reads=frozenset({"acceptance"}),
        variants=({}, {"threshold": 0.7}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        if not self.threshold <= 1.0:
            raise MethodError(
                f"`specdec_pp.threshold` must be at most 1, got `{self.threshold}`",
                hint="a negative one looks ahead on the measured costs",
            )
        for name in ("least", "max_draft"):
            if getattr(self, name) < 1:
                raise MethodError(f"`specdec_pp.{name}` must be at least 1")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Take the head that was trained for this model."""
        try:
            found = profile["acceptance"]
            return {
                "layer": int(found["layer"]),
                "head": str(found["head"]),
                "weight": float(found["weight"]),
                "accepted": float(found["accepted"]),
            }
        except (KeyError, TypeError, ValueError):
            raise MethodError(
                "`specdec_pp` found no acceptance head in the profile",
                hint="train one with `rheostat profile MODEL --acceptance --out profile.json`",
            ) from None

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Controlled:
        """Return the drafter whose drafts have at most the dial's share of `max_draft` tokens."""
        layer, accepted = fitted["layer"], fitted["accepted"]
        if not 0 < layer <= shape.layers:
            raise MethodError(
                f"the head of `specdec_pp` reads layer {layer}, this model has {shape.layers}",
                hint="make the plan again with `rheostat plan` for this model",
            )
        source = ModelSource(
            forward=Forward(layout=exit_at(layer, shape.layers), head=fitted["head"]),
            prior=(accepted, accepted),
            rule=LookAhead(weight=fitted["weight"])
            if self.threshold < 0
            else Threshold(threshold=self.threshold, least=self.least),
        )
        return Controlled(models=((source, steps(dial, self.max_draft)),))
