"""Ends of a sequence that are found while it is written, token by token: loops, settled answers.

The cuts of `trace_cuts.py` as state machines. A cut that asks for more copies or more agreement
never comes before one that asks for less, so new tokens fall as a dial rises.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from rheostat.kernel.policies.trace_cuts import LENGTHS
from rheostat.kernel.stop import Stopping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.stop import StopPolicy, Written

SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
"""Where a sentence is known to be over: 12. may still become 12.5 (ours)."""
REFLECTION = re.compile(r"\n\s{0,8}(?:Wait|But|Alternatively|Hmm)(?=[\s,.])")
"""Where reasoning turns back on itself (the markers that TrimR names)."""
LONGEST = 32
"""Characters that an end and what must follow it take at most."""
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def stretched(least: int, dial: float) -> float:
    """Return how much of something is asked for: `least` at dial 1, least/d at d, no end at 0."""
    return math.ceil(least / dial - 1e-9) if dial > 0 else math.inf


def stated(text: str) -> str | None:
    """Return the last number of a text, as it is compared; None = it states none (ours)."""
    numbers = _NUMBER.findall(text)
    return numbers[-1].replace(",", "") if numbers else None


@final
@dataclass(frozen=True, kw_only=True)
class Loop:
    """A window of tokens that repeats back to back; `loop_end` token by token."""

    times: float
    """Copies that make a loop, at least 2."""
    lengths: Sequence[int] = LENGTHS
    """Windows, in tokens."""

    def start(self, seed: int) -> tuple[int, ...]:
        """Return, per window, how many tokens in a row equal the one a window before."""
        return (0,) * len(self.lengths)

    def step(self, state: tuple[int, ...], written: Written) -> Stopping:
        """Compare the newest token with the one a window before it."""
        tokens = written.tokens
        runs = tuple(
            run + 1 if len(tokens) > length and tokens[-1] == tokens[-1 - length] else 0
            for run, length in zip(state, self.lengths, strict=True)
        )
        needed = (length * (self.times - 1) for length in self.lengths)
        return Stopping(runs, any(run >= n for run, n in zip(runs, needed, strict=True)))


class Agreed(NamedTuple):
    """How far the answers of successive segments agree."""

    seen: int = 0
    """Characters of the text that were searched."""
    begun: int = 0
    """Where in the text the segment begins that is being written."""
    answer: str | None = None
    row: int = 0
    """Segments in a row that state it."""


@final
@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Finished segments that state the same answer one after another: `agreed_at` on the way.

    A segment's answer is its last number (ours); one that states none neither counts nor breaks
    the row.
    """

    ends: re.Pattern[str]
    """Where a segment is over; at most `LONGEST` characters."""
    agreeing: float
    """Segments in a row."""

    def start(self, seed: int) -> Agreed:
        """Return that nothing was stated."""
        return Agreed()

    def step(self, state: Agreed, written: Written) -> Stopping:
        """Take in the segments that are over with this token."""
        text = written.text
        place = max(state.begun, state.seen - LONGEST)
        while (end := self.ends.search(text, place)) is not None:
            place = end.end()
            answer = stated(text[state.begun : place])
            if answer is not None:
                row = state.row + 1 if answer == state.answer else 1
                state = state._replace(answer=answer, row=row)
            state = state._replace(begun=place)
        return Stopping(state._replace(seen=len(text)), state.row >= self.agreeing)


@final
@dataclass(frozen=True, kw_only=True)
class Length:
    """So many new tokens, whatever they are."""

    tokens: float

    def start(self, seed: int) -> None:
        """Remember nothing."""

    def step(self, state: None, written: Written) -> Stopping:
        """Count."""
        return Stopping(None, len(written.tokens) >= self.tokens)


@final
@dataclass(frozen=True, kw_only=True)
class Lots:
    """A lot after every token."""

    chance: float
    """Of ending with it."""

    def start(self, seed: int) -> int:
        """Keep the sequence's seed."""
        return seed

    def step(self, state: int, written: Written) -> Stopping:
        """Draw the lot of this place; a higher chance ends no later."""
        lot = np.random.default_rng((state, len(written.tokens))).random()
        return Stopping(state, bool(lot < self.chance))


@final
@dataclass(frozen=True)
class FirstOf:
    """Ends with the first of several reasons."""

    reasons: tuple[StopPolicy, ...]

    def start(self, seed: int) -> tuple[Any, ...]:
        """Start all of them."""
        return tuple(reason.start(seed) for reason in self.reasons)

    def step(self, state: tuple[Any, ...], written: Written) -> Stopping:
        """Ask all of them."""
        said = [one.step(own, written) for one, own in zip(self.reasons, state, strict=True)]
        return Stopping(tuple(one.state for one in said), any(one.stops for one in said))
