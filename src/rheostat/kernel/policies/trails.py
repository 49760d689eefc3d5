"""Guesses followed through what is written: how far each held, whether it was drafted or not.

A guess is followed from the place where it was made until it breaks or ends, and scored there. A
way that leaves it at a later place is followed from that place on, whenever the guess holds so far:
its curve is that of its first tokens all being written after that, also where the guess was right
and the way is therefore wrong (ours).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.run_lengths import RunLengths


class Way(NamedTuple):
    """Another way on from a place of a guess."""

    at: int
    """Tokens of the guess that come before it."""
    tokens: Sequence[int]
    runs: RunLengths
    """How far such ways hold."""


@final
@dataclass(kw_only=True)
class Trail:
    """A guess or a way that is being followed."""

    tokens: Sequence[int]
    runs: RunLengths
    held: int = 0
    """How many of its tokens were written."""

    def ends(self, token: int) -> bool:
        """Take in a written token; score the guess and return True when it breaks or ends."""
        right = self.tokens[self.held] == token
        self.held += right
        if right and self.held < len(self.tokens):
            return False
        self.runs.score(self.held, len(self.tokens))
        return True


@final
@dataclass(kw_only=True)
class Trails:
    """What is followed of one source: one guess at a time, and the ways that left guesses."""

    guess: Trail | None = None
    ways: Sequence[Way] = ()
    """Of the guess."""
    left: list[Trail] = field(default_factory=list)
    """Ways that are being followed."""

    def follow(self, tokens: Sequence[int], runs: RunLengths, ways: Sequence[Way]) -> None:
        """Follow a guess, unless one is followed already."""
        if self.guess is None:
            self.guess, self.ways = Trail(tokens=tokens, runs=runs), ways

    def read(self, tokens: Sequence[int]) -> None:
        """Follow everything through written tokens."""
        for token in tokens:
            if self.guess is not None:
                place = self.guess.held
                self.left += [
                    Trail(tokens=w.tokens, runs=w.runs) for w in self.ways if w.at == place
                ]
                if self.guess.ends(token):
                    self.guess, self.ways = None, ()
            self.left = [trail for trail in self.left if not trail.ends(token)]
