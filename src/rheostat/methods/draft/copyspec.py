"""CopySpec: draft what followed an earlier occurrence of the last gamma tokens (arXiv 2502.08923).

The paper copies a fixed number of tokens from the earliest occurrence.

Ours: the occurrence with the longest backward extension among the few most recent ones; a copy
that runs into its own end goes on with itself, so loops give full drafts; after a changed token
the copy goes on behind it without waiting for gamma new matches; and the draft's length. Per
match length (3, 4-5, 6-8, 9+, behind a change) an average of the acceptance is kept; the length is
the one with the most expected tokens a second in the machine's measured table, 0 when no draft
pays. Every lookup is scored against the tokens really written, also when nothing was verified, so
exploring is free. Exploration allowance: the starting estimates and stale ones after a change of
text, at most 5 % over the base on text without copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.acceptance import moved, outcomes_of
from rheostat.kernel.policies.draft_length import LengthTable
from rheostat.kernel.policies.gram_index import GramIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import DraftStart

_EXTENSION = 16  # longer common pasts say no more
_RESUMED = 4  # bucket of a copy that goes on behind a changed token
_BUCKETS = (_RESUMED, 0, 0, 0, 1, 1, 2, 2, 2) + (3,) * (_EXTENSION - 8)  # match length -> bucket
_PRIOR = (0.2, 0.45, 0.65, 0.8, 0.2)  # acceptance before anything was seen, a bucket each
_PRIOR_WEIGHT = 2  # a prior counts as much as so many scored tokens


@final
@dataclass(frozen=True, kw_only=True)
class CopySpec:
    """Drafts by copying; lossless, because every draft is verified."""

    gamma: int = 3
    """Tokens that must match."""
    max_draft: int = 24
    """Longest draft at dial 1."""
    candidates: int = 4
    """Most recent occurrences that are compared."""
    rate: float = 0.1
    """Weight of a scored token in the averages."""
    modulus: int = 2**61 - 1
    """Modulus of the rolling hash; 1 makes every key collide, which only costs speed."""

    card: ClassVar[Card] = Card(
        name="copyspec",
        title="copies what followed the last tokens before, at the length that pays",
        seam="draft",
        exactness="distribution",
        paper="arXiv:2502.08923",
        needs=frozenset({"draft"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("gamma", "max_draft", "candidates", "modulus"):
            if getattr(self, name) < 1:
                raise MethodError(f"`copyspec.{name}` must be at least 1")
        if self.gamma > _EXTENSION:
            raise MethodError(f"`copyspec.gamma` must be at most {_EXTENSION}, got `{self.gamma}`")
        if not 0.0 < self.rate <= 1.0:
            raise MethodError(f"`copyspec.rate` must be in (0, 1], got `{self.rate}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing: the step costs arrive when a row starts."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> CopyDrafter:
        """Return the drafter whose drafts have at most the dial's share of `max_draft` tokens."""
        return CopyDrafter(method=self, cap=steps(dial, self.max_draft))


@dataclass(kw_only=True)
class CopyState:
    """A row's text, and how its lookups fared."""

    special: frozenset[int]
    index: GramIndex
    text: list[int]
    """Every token read and written: the list that the index grows."""
    lengths: LengthTable
    pending: tuple[int, int] | None = None
    """The lookup to be scored: where the copied text starts, and its bucket."""
    resume: int = -1
    """Where the last copied text goes on, -1 = it is given up."""
    strays: int = 0
    """Lookups in a row whose first token was wrong."""
    accept: list[float] = field(default_factory=lambda: list(_PRIOR))
    """Acceptance of one more copied token, a bucket each."""
    weights: list[int] = field(default_factory=lambda: [_PRIOR_WEIGHT] * len(_PRIOR))
    """Scored tokens that it counts as, a bucket each."""


@final
@dataclass(frozen=True, kw_only=True)
class CopyDrafter:
    """CopySpec at a dial."""

    method: CopySpec
    cap: int
    """Longest draft; 0 = the base, nothing is looked up."""

    def start(self, start: DraftStart) -> CopyState:
        """Index the prompt."""
        index = GramIndex(gamma=self.method.gamma, modulus=self.method.modulus)
        lengths = LengthTable.up_to(self.cap, start.step_seconds)
        state = CopyState(special=start.special, index=index, text=index.text, lengths=lengths)
        return self.commit(state, start.prompt)

    def propose(self, state: CopyState, limit: int) -> Sequence[int]:
        """Look the last gamma tokens up; return as much of what followed as pays."""
        limit = min(limit, self.cap)
        if limit <= 0:
            return ()
        among, special = self.method.candidates, state.special
        match = state.index.longest(among=among, most=_EXTENSION, ignored=special)
        start, bucket = match.end if match.length else state.resume, _BUCKETS[match.length]
        if start < 0:
            return ()
        state.pending = (start, bucket)
        return state.index.copied(start, state.lengths.best(state.accept[bucket], limit))

    def commit(self, state: CopyState, tokens: Sequence[int]) -> CopyState:
        """Score the last lookup up to its first wrong token, then index what was written."""
        if not self.cap:
            return state
        state.resume = -1
        if state.pending is not None:
            (start, bucket), state.pending = state.pending, None
            outcomes = outcomes_of(state.index.copied(start, len(tokens)), tokens)
            average, weight = state.accept[bucket], state.weights[bucket]
            state.accept[bucket] = moved(average, outcomes, weight=weight, rate=self.method.rate)
            state.weights[bucket] = weight + len(outcomes)
            state.strays = state.strays + 1 if outcomes[:1] == [False] else 0
            if state.strays < self.method.gamma:
                state.resume = start + len(tokens)
        state.index.append(tokens)
        return state
