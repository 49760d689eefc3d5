"""CopySpec: draft what followed an earlier occurrence of the last gamma tokens (arXiv 2502.08923).

The paper copies a fixed number of tokens from the earliest occurrence, with gamma = 3.

Ours: gamma = 2; the occurrence with the longest backward extension among the few most recent
ones; a copy that runs into its own end goes on with itself, so loops give full drafts; and the
draft's length, which the controller learns per match length (up to 2, 3-5, 6-8, 9+). Exploration
allowance: the controller's, 1 % of the ordinary steps and 2.5 of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.policies.gram_index import GramIndex
from rheostat.kernel.seams import Guess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import DraftStart

_EXTENSION = 16  # longer common pasts say no more
_KINDS = (0, 0, 0, 1, 1, 1, 2, 2, 2) + (3,) * (_EXTENSION - 8)  # match length -> kind of guess
_PRIORS = ((0.5, 0.85), (0.75, 0.9), (0.8, 0.9), (0.9, 0.95))
"""Rounded from SmolLM2-135M's answers to calibration items of the built-in workloads."""


@final
@dataclass(frozen=True, kw_only=True)
class CopySpec:
    """Drafts by copying; lossless, because every draft is verified."""

    gamma: int = 2
    """Tokens that must match."""
    max_draft: int = 24
    """Longest draft at dial 1."""
    candidates: int = 4
    """Most recent occurrences that are compared."""
    modulus: int = 2**61 - 1
    """Modulus of the rolling hash; 1 makes every key collide, which only costs speed."""

    card: ClassVar[Card] = Card(
        name="copyspec",
        title="copies what followed the last tokens before, at the length that pays",
        seam="draft",
        exactness="distribution",
        paper="arXiv:2502.08923",
        paper_title=(
            "CopySpec: Accelerating LLMs with Speculative Copy-and-Paste Without "
            "Compromising Quality"
        ),
        authors="Razvan-Gabriel Dumitru, Minglai Yang, Vikas Yadav, Mihai Surdeanu",
        needs=frozenset({"draft"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("gamma", "max_draft", "candidates", "modulus"):
            if getattr(self, name) < 1:
                raise MethodError(f"`copyspec.{name}` must be at least 1")
        if self.gamma > _EXTENSION:
            raise MethodError(f"`copyspec.gamma` must be at most {_EXTENSION}, got `{self.gamma}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing: the step costs arrive when a row starts."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Controlled:
        """Return the drafter whose drafts have at most the dial's share of `max_draft` tokens."""
        return Controlled(sources=((CopySource(self), steps(dial, self.max_draft)),))


@final
@dataclass(frozen=True)
class CopySource:
    """Copies for the controller."""

    method: CopySpec
    priors = _PRIORS

    def start(self, start: DraftStart) -> CopyState:
        """Index the prompt."""
        index = GramIndex(gamma=self.method.gamma, modulus=self.method.modulus)
        index.append(start.prompt)
        return CopyState(special=start.special, index=index)

    def guess(self, state: CopyState, longest: int) -> Guess | None:
        """Look the last gamma tokens up; return what followed."""
        among, special = self.method.candidates, state.special
        match = state.index.longest(among=among, most=_EXTENSION, ignored=special)
        if not match.length:
            return None
        return Guess(state.index.copied(match.end, longest), _KINDS[match.length])

    def commit(self, state: CopyState, tokens: Sequence[int]) -> CopyState:
        """Index what was written."""
        state.index.append(tokens)
        return state


@dataclass(frozen=True, kw_only=True)
class CopyState:
    """A row's text."""

    special: frozenset[int]
    index: GramIndex
