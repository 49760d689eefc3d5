"""The seam `stop`: is more of this sequence worth having?

A policy is a synchronous state machine per sequence: `start(seed) -> state`, then `step` with every
new token. It holds no model, and ending is all that it can ask for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Written(NamedTuple):
    """What a sequence holds after each new token."""

    tokens: Sequence[int]
    """All its new token ids, the newest last; at least one."""
    text: str
    """The text of them; a character whose last token is not there yet is left out."""


class Stopping(NamedTuple):
    """What the seam `stop` says after a token."""

    state: Any
    stops: bool
    """Whether the sequence ends with this token."""


class StopPolicy(Protocol):
    """A decision where a sequence ends: a state machine that sees every token once, in order.

    It sees its own sequence alone, so that a row does not depend on its neighbours.
    """

    def start(self, seed: int) -> Any:
        """Return the state of a new sequence; `seed` is its own, for policies that draw lots."""

    def step(self, state: Any, written: Written) -> Stopping:
        """Take in one more token."""
