"""Self-drafting: a part of the model's own sub-layers drafts, the whole model verifies.

LayerSkip (arXiv 2404.16710) leaves early after layer k, through the model's own norm and head;
Draft & Verify (arXiv 2309.08168) leaves out a fixed set of sub-layers (both recalled). A draft
reads the whole model's cache of the text and puts its own keys and values behind it.

What the verifying pass computes again: below the first layer of which the draft runs less than the
plan, both compute the same, so their keys, values and residual stream are kept, and the verifying
pass enters at that layer, but for the last drafted token, which nothing has read. For an early
exit that is every layer the draft ran. A set of dropped sub-layers is worse off: a dropped one
changes all that lies above it, so only the layers below the first dropped one are kept. Where a
depth method decides while running, nothing is kept, because its decisions belong to one pass.

Ours: the set is `llm_drop`'s, ranked by the profile; the length and whether to draft at all come
from the controller. Exploration allowance: the controller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.policies.model_drafts import ModelSource
from rheostat.kernel.seams import Forward, Layout
from rheostat.methods.depth.llm_drop import PARTS, LlmDrop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape

_EXIT = "exit"
_PRIOR = (0.3, 0.5)
"""Exits of models that were not trained for them are poor."""


@final
@dataclass(frozen=True, kw_only=True)
class SelfDraft:
    """Drafts with the lower layers, or without the most redundant sub-layers."""

    unit: str = _EXIT
    """`exit`, or what is left out: `attention`, `mlp`, `joint` or `layer`, as in `llm_drop`."""
    kept: float = 0.5
    """Share of the layers below the exit, or of the units that the draft runs."""
    max_draft: int = 8
    """Longest draft at dial 1."""

    card: ClassVar[Card] = Card(
        name="self_draft",
        title="drafts with a part of the model's own sub-layers",
        seam="draft",
        exactness="distribution",
        paper="arXiv:2404.16710",
        paper_title="LayerSkip: Enabling Early Exit Inference and Self-Speculative Decoding",
        authors=(
            "Mostafa Elhoushi, Akshat Shrivastava, Diana Liskovich, Basil Hosmer, Bram Wasti, "
            "Liangzhen Lai, Anas Mahmoud, Bilge Acun, Saurabh Agarwal, Ahmed Roman, Ahmed A. "
            "Aly, Beidi Chen, Carole-Jean Wu"
        ),
        needs=frozenset({"draft", "draft.model"}),
        reads=frozenset({"redundancy"}),
        variants=({}, {"unit": "joint"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        if self.unit != _EXIT and self.unit not in PARTS:
            raise MethodError(
                f"`self_draft.unit` is unknown: `{self.unit}`",
                hint=f"choose one of: {', '.join((_EXIT, *PARTS))}",
            )
        if not 0.0 < self.kept < 1.0:
            raise MethodError(f"`self_draft.kept` must be between 0 and 1, got `{self.kept}`")
        if self.max_draft < 1:
            raise MethodError("`self_draft.max_draft` must be at least 1")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Take the ranking of the units; an early exit has nothing to learn."""
        if self.unit == _EXIT:
            return {"unit": _EXIT}
        return self._drop.fit(profile)

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Controlled:
        """Return the drafter whose drafts have at most the dial's share of `max_draft` tokens."""
        if self.unit == _EXIT:
            layout = exit_at(exit_layer(self.kept, shape.layers), shape.layers)
        else:
            layout = self._drop.at(1.0, fitted, shape).layout
        source = ModelSource(forward=Forward(layout=layout), prior=_PRIOR)
        return Controlled(models=((source, steps(dial, self.max_draft)),))

    @property
    def _drop(self) -> LlmDrop:
        return LlmDrop(unit=self.unit, max_share=1.0 - self.kept)


def exit_layer(kept: float, layers: int) -> int:
    """Return after how many layers a draft leaves that keeps a share of them: at least one."""
    return max(1, round(kept * layers))


def exit_at(layer: int, layers: int) -> Layout:
    """Return the layout that runs the layers 0..layer-1."""
    return Layout.full(layers).within(0, layer)
