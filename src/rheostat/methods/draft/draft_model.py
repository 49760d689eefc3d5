"""A separate, smaller model drafts and the model verifies (arXiv 2211.17192, 2302.01318).

The two must share their vocabulary, token by token; the engine refuses others. The draft model
keeps a cache of its own: it reads the text when it is first asked, and later what was written
without it. All of that is in the price of its drafts, so on a long prompt it may never be asked.

Ours: the length and whether to draft at all come from the controller, the cost of reading
included. Exploration allowance: the controller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.policies.model_drafts import ModelSource
from rheostat.kernel.seams import Forward

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape

_PRIOR = (0.6, 0.75)


@final
@dataclass(frozen=True, kw_only=True)
class DraftModel:
    """Drafts with another model of the same vocabulary."""

    path: str = ""
    """The draft model: a GGUF file, or an embedded name."""
    max_draft: int = 8
    """Longest draft at dial 1."""

    card: ClassVar[Card] = Card(
        name="draft_model",
        title="drafts with a smaller model of the same vocabulary",
        seam="draft",
        exactness="distribution",
        paper="arXiv:2211.17192",
        paper_title="Fast Inference from Transformers via Speculative Decoding",
        authors="Yaniv Leviathan, Matan Kalman, Yossi Matias",
        needs=frozenset({"draft", "draft.model"}),
    )

    def __post_init__(self) -> None:
        """Refuse a draft of no tokens."""
        if self.max_draft < 1:
            raise MethodError("`draft_model.max_draft` must be at least 1")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing: how often drafts are accepted is seen while running."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Controlled:
        """Return the drafter whose drafts have at most the dial's share of `max_draft` tokens."""
        if not self.path:
            raise MethodError(
                "`draft_model` needs a model that drafts",
                hint="name it with `--param draft_model.path=FILE.gguf`",
            )
        source = ModelSource(forward=Forward(model=self.path), prior=_PRIOR)
        return Controlled(models=((source, steps(dial, self.max_draft)),))
