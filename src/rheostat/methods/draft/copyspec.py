"""CopySpec: draft what followed an earlier occurrence of the last gamma tokens (arXiv 2502.08923).

With the rolling hash H_t = (H_{t-1} - x_{t-gamma} B^(gamma-1)) B + x_t mod 2^61-1, a match costs
O(1) a token. The paper copies a fixed number of tokens from the earliest occurrence.

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
from rheostat.kernel.policies.draft_length import best_length

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import DraftStart, StepSeconds

_BASE = 1_000_003  # larger than any vocabulary, so gamma tokens are the digits of one number
_EXTENSION = 16  # longer common pasts say no more
_BUCKETS = (0, 0, 0, 0, 1, 1, 2, 2, 2) + (3,) * (_EXTENSION - 8)  # match length -> bucket
_RESUMED = 4  # bucket of a copy that goes on behind a changed token
_PRIOR = (0.2, 0.45, 0.65, 0.8, 0.2)  # acceptance before anything was seen, a bucket each
_PRIOR_WEIGHT = 2  # a prior counts as much as so many scored tokens
_LEVELS = 64  # resolution of the acceptance in the table of lengths


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
    """A row's text, where its gamma-grams ended, and how lookups fared."""

    special: frozenset[int]
    step_seconds: StepSeconds
    text: list[int] = field(default_factory=list)
    key: int = 0
    """Hash of the last gamma tokens (of fewer at the start)."""
    latest: dict[int, int] = field(default_factory=dict)
    """Hash -> the most recent end of an earlier gamma-gram that has it."""
    earlier: list[int] = field(default_factory=list)
    """End -> the end before it with the same hash, -1 at the first."""
    special_run: int = 0
    """How many of the last tokens are special without a gap."""
    pending: tuple[int, int] | None = None
    """The lookup to be scored: where the copied text starts, and its bucket."""
    resume: int = -1
    """Where the last copied text goes on, -1 = it is given up."""
    strays: int = 0
    """Lookups in a row whose first token was wrong."""
    accept: list[float] = field(default_factory=lambda: list(_PRIOR))
    """Acceptance of one more copied token, a bucket each."""
    scored: list[int] = field(default_factory=lambda: [0] * len(_PRIOR))
    lengths: dict[tuple[int, int], int] = field(default_factory=dict)
    """(level of acceptance, limit) -> best draft length, filled as it is asked."""


@final
@dataclass(frozen=True, kw_only=True)
class CopyDrafter:
    """CopySpec at a dial."""

    method: CopySpec
    cap: int
    """Longest draft; 0 = the base, nothing is looked up."""

    def start(self, start: DraftStart) -> CopyState:
        """Index the prompt."""
        known = [start.step_seconds(n) for n in range(1, self.cap + 2)]
        state = CopyState(special=start.special, step_seconds=lambda n: known[n - 1])
        if self.cap:
            self._append(state, start.prompt)
        return state

    def propose(self, state: CopyState, limit: int) -> Sequence[int]:
        """Look the last gamma tokens up; return as much of what followed as pays."""
        limit = min(limit, self.cap)
        if limit <= 0:
            return ()
        start, length = self._match(state)
        bucket = _BUCKETS[length] if length else _RESUMED
        start = start if length else state.resume
        if start < 0:
            return ()
        state.pending = (start, bucket)
        count = _length(state, state.accept[bucket], limit)
        copied = state.text[start : start + count]
        if len(copied) < count:
            copied = (copied * count)[:count]
        return copied

    def commit(self, state: CopyState, tokens: Sequence[int]) -> CopyState:
        """Score the last lookup against what was written, then index it."""
        if not self.cap:
            return state
        state.resume = -1
        if state.pending is not None:
            self._score(state, tokens)
            if state.strays < self.method.gamma:
                state.resume = state.pending[0] + len(tokens)
            state.pending = None
        self._append(state, tokens)
        return state

    def _match(self, state: CopyState) -> tuple[int, int]:
        """Return the best occurrence's end and length; length 0 = there is none."""
        text, gamma = state.text, self.method.gamma
        size = len(text)
        best_end, best = -1, 0
        end = state.latest.get(state.key, -1) if size >= gamma else -1
        for _ in range(self.method.candidates):
            if end < 0:
                break
            length, most = 0, min(end, _EXTENSION)
            while length < most and text[end - 1 - length] == text[size - 1 - length]:
                length += 1
            if length > best and length >= gamma and length > state.special_run:
                best_end, best = end, length
            end = state.earlier[end]
        return best_end, best

    def _score(self, state: CopyState, tokens: Sequence[int]) -> None:
        """Move the bucket's average by each copied token up to the first that was wrong."""
        start, bucket = state.pending or (0, 0)
        text, period = state.text, len(state.text) - start
        p, count = state.accept[bucket], state.scored[bucket]
        for i, token in enumerate(tokens):
            hit = token == text[start + i % period]
            count += 1
            p += (hit - p) * max(self.method.rate, 1.0 / (count + _PRIOR_WEIGHT))
            if not hit:
                state.strays = state.strays + 1 if i == 0 else 0
                break
        else:
            state.strays = 0
        state.accept[bucket], state.scored[bucket] = p, count

    def _append(self, state: CopyState, tokens: Sequence[int]) -> None:
        """Extend the text and the index; the last gamma-gram waits until a token follows it."""
        gamma, modulus = self.method.gamma, self.method.modulus
        out = pow(_BASE, gamma, modulus)
        text, latest, earlier, key = state.text, state.latest, state.earlier, state.key
        for token in tokens:
            size = len(text)
            if size >= gamma:
                earlier.append(latest.get(key, -1))
                latest[key] = size
                key = (key * _BASE + token - text[size - gamma] * out) % modulus
            else:
                earlier.append(-1)
                key = (key * _BASE + token) % modulus
            text.append(token)
            state.special_run = state.special_run + 1 if token in state.special else 0
        state.key = key


def _length(state: CopyState, p: float, limit: int) -> int:
    level = int(p * _LEVELS)
    known = state.lengths.get((level, limit))
    if known is None:
        known = best_length(level / _LEVELS, limit, state.step_seconds)
        state.lengths[level, limit] = known
    return known
