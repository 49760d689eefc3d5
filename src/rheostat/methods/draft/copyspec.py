"""CopySpec: draft what followed an earlier occurrence of the last gamma tokens (arXiv 2502.08923).

The paper copies a fixed number of tokens from the earliest occurrence, with gamma = 3.

Ours: gamma = 2; the occurrence with the longest backward extension among the few most recent
ones; a copy that runs into its own end goes on with itself, so loops give full drafts; and the
draft's length. Per match length (up to 2, 3-5, 6-8, 9+) the share of copies that hold for k
tokens is kept; the length is the one with the most expected tokens a second in the machine's
measured table, 0 when no draft pays. Copies are scored against the tokens really written, also
when nothing was verified, so exploring is free: one copy after the other, as if each were drafted
at full length. Exploration allowance: the starting estimates and stale ones after a change of
text, at most 5 % over the base on text without copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.draft_length import best_length
from rheostat.kernel.policies.gram_index import GramIndex
from rheostat.kernel.policies.run_lengths import CopyGuess, RunLengths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import DraftStart

_EXTENSION = 16  # longer common pasts say no more
_BUCKETS = (0, 0, 0, 1, 1, 1, 2, 2, 2) + (3,) * (_EXTENSION - 8)  # match length -> bucket
_PRIOR = ((0.5, 0.85), (0.75, 0.9), (0.8, 0.9), (0.9, 0.95))
"""Acceptance of a copy's first token and of each further one before anything was seen, a bucket
each; rounded from SmolLM2-135M's answers to calibration items of the built-in workloads."""
_PRIOR_WEIGHT = 1
"""A prior counts as much as so many scored copies: more would unlearn too slowly."""


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
    rate: float = 0.1
    """Least weight of a scored copy in the shares."""
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
    seconds: Sequence[float]
    """Cost of a pass over 1, 2, ... new tokens."""
    runs: list[RunLengths]
    """How far copies hold, a bucket each."""
    guess: CopyGuess | None = None
    """The copy that is being scored,"""
    bucket: int = 0
    """and its bucket."""


@final
@dataclass(frozen=True, kw_only=True)
class CopyDrafter:
    """CopySpec at a dial."""

    method: CopySpec
    cap: int
    """Longest draft; 0 = the base, nothing is looked up."""

    def start(self, start: DraftStart) -> CopyState:
        """Index the prompt."""
        method, index = self.method, GramIndex(gamma=self.method.gamma, modulus=self.method.modulus)
        runs = [
            RunLengths.prior(*p, longest=self.cap, weight=_PRIOR_WEIGHT, rate=method.rate)
            for p in _PRIOR
        ]
        seconds = [start.step_seconds(n) for n in range(1, self.cap + 2)]
        state = CopyState(
            special=start.special, index=index, text=index.text, seconds=seconds, runs=runs
        )
        return self.commit(state, start.prompt)

    def propose(self, state: CopyState, limit: int) -> Sequence[int]:
        """Look the last gamma tokens up; return as much of what followed as pays."""
        limit = min(limit, self.cap)
        if limit <= 0:
            return ()
        among, special = self.method.candidates, state.special
        match = state.index.longest(among=among, most=_EXTENSION, ignored=special)
        if not match.length:
            return ()
        bucket = _BUCKETS[match.length]
        if state.guess is None:
            state.guess, state.bucket = CopyGuess(source=match.end, at=len(state.text)), bucket
        length = best_length(state.runs[bucket].survival, limit, state.seconds)
        return state.index.copied(match.end, length)

    def commit(self, state: CopyState, tokens: Sequence[int]) -> CopyState:
        """Index what was written, and score the copy that it settles."""
        if not self.cap:
            return state
        state.index.append(tokens)
        if state.guess is not None and state.guess.settled(state.text, self.cap):
            state.runs[state.bucket].score(state.guess.held)
            state.guess = None
        return state
