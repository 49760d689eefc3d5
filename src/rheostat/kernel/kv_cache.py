"""The `cache` seam: what stays in the KV cache, and what is asked and told about it.

A row's entries are let go at its borders: when its prompt has been read, and again after every so
many further tokens. No pass reads beyond a border, so a border lies between the same two tokens
whatever is drafted, and a rejected draft never reaches one. Arrays are numpy, float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Singles = NDArray[np.float32]


class Held(NamedTuple):
    """What one attention holds of one row, oldest first; every head may hold other tokens."""

    keys: Singles
    """[kv_heads, entries, head_size], turned to the positions of their tokens."""
    values: Singles
    """[kv_heads, entries, head_size]."""
    counts: Singles
    """[kv_heads, entries]: how many tokens an entry stands for; 1 = its own alone."""


Multiply = Callable[["Singles", "Singles"], "Singles"]
"""[heads, n, k] and [heads, m, k] -> the products of all pairs, [heads, n, m]: executed, counted
and priced by the engine."""


class Border(NamedTuple):
    """Where and when entries are let go."""

    tokens: int
    """Tokens of the row so far: the newest ones are those that no border has seen."""
    slot: int
    """Which of the attentions that the plan keeps, from the first layer on."""
    state: Any
    """What the last `observe` or `compact` of this attention left; None at first."""
    multiply: Multiply


class Kept(NamedTuple):
    """What an attention holds from now on."""

    held: Held
    state: Any = None


class Eviction(Protocol):
    """A decision about which entries stay. It depends on the row's own past alone."""

    @property
    def every(self) -> int:
        """Tokens between two borders after the prompt's end."""

    @property
    def newest(self) -> int | None:
        """Of how many of the newest tokens `observe` wants the attention weights; None = of all."""

    def entries(self, tokens: int) -> int:
        """Return the entries that stay at a border of a row of so many tokens, at least one."""

    def observe(self, weights: Singles, state: Any) -> Any:
        """Take in the attention of the newest n tokens; return the state.

        Args:
            weights: mean over the query heads that share a key-value head, [kv_heads, n, entries];
                the last n entries are those tokens themselves; 0 where a token saw nothing.
            state: what the last call for this attention left; None at first.
        """

    def compact(self, held: Held, border: Border) -> Kept:
        """Return `entries(border.tokens)` entries, oldest first, of the more that are held."""


class Coded(NamedTuple):
    """Tokens in another form."""

    parts: Sequence[NDArray[np.generic]]
    """Whatever is stored, tokens along the first axis of each array."""
    state: Any = None


class Coder(Protocol):
    """A decision about the form of entries: every token stays, older ones are coded at borders."""

    @property
    def every(self) -> int:
        """Tokens between two borders after the prompt's end."""

    @property
    def recent(self) -> int:
        """Newest tokens that are not coded."""

    def encode(self, keys: Singles, values: Singles, state: Any) -> Coded:
        """Code a slot's tokens [kv_heads, n, head_size]; `state` is what the last call left."""

    def decode(self, parts: Sequence[NDArray[np.generic]], state: Any) -> tuple[Singles, Singles]:
        """Return the keys and values that are stored, each [kv_heads, n, head_size]."""


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Older tokens are held as the residual stream that each attention read, and rebuilt."""

    share: float
    """Tokens that keep keys and values, as a share of the row's."""
    window: int
    """Newest tokens that always keep them."""
    every: int
    """Tokens between two borders."""

    def kept(self, tokens: int) -> int:
        """Return how many of the newest tokens of a row keep keys and values."""
        return max(self.window, int(self.share * tokens))


@dataclass(frozen=True)
class CachePlan:
    """A cache decision; a row's cache is the base's until its first border."""

    eviction: Eviction | None = None
    """Which entries stay; None = all of them."""
    coder: Coder | None = None
    """The form of older ones; None = that of the newest."""
    checkpoints: Checkpoints | None = None
    """Older ones are rebuilt when they are read; None = no."""
