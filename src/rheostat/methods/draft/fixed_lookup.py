"""Control of the draft seam: a draft of fixed length after the first earlier pair of tokens.

What prompt lookup does without any adaptation: the last two tokens are searched from the left
in prompt and output, and the tokens after the first occurrence are drafted, whether it pays or
not. A draft method that does not beat it at the same price has not earned its decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import DraftStart


@final
@dataclass(frozen=True, kw_only=True)
class FixedLookup:
    """Lookup drafts of a fixed length."""

    draft: int = 10
    """Tokens in a draft at dial 1."""

    card: ClassVar[Card] = Card(
        name="fixed_lookup",
        title="copies a fixed number of tokens after the first earlier pair",
        seam="draft",
        exactness="distribution",
        paper="control",
        needs=frozenset({"draft"}),
        control=True,
    )

    def __post_init__(self) -> None:
        """Refuse a draft of no tokens."""
        if self.draft < 1:
            raise MethodError(f"`fixed_lookup.draft` must be at least 1, got `{self.draft}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> LookupDrafter:
        """Return the drafter whose drafts have the dial's share of `draft` tokens."""
        return LookupDrafter(length=steps(dial, self.draft))


@dataclass(kw_only=True)
class LookupState:
    """A row's text and where each pair of tokens first ended."""

    text: list[int] = field(default_factory=list)
    first: dict[tuple[int, int], int] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class LookupDrafter:
    """The control at a dial."""

    length: int

    def start(self, start: DraftStart) -> LookupState:
        """Index the prompt."""
        return self.commit(LookupState(), start.prompt)

    def propose(self, state: LookupState, limit: int) -> Sequence[int]:
        """Return what followed the first occurrence of the last two tokens."""
        count = min(limit, self.length)
        if count <= 0 or len(state.text) < 2:
            return ()
        end = state.first.get((state.text[-2], state.text[-1]))
        return () if end is None else state.text[end : end + count]

    def commit(self, state: LookupState, tokens: Sequence[int]) -> LookupState:
        """Index what was written; the last pair waits until a token follows it."""
        text = state.text
        for token in tokens:
            if len(text) >= 2:
                state.first.setdefault((text[-2], text[-1]), len(text))
            text.append(token)
        return state
