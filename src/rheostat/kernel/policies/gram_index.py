"""Where the last gamma tokens of a growing text occurred before, in O(1) a token.

A rolling hash names each gamma-gram: H_t = H_{t-1} B + x_t - x_{t-gamma} B^gamma mod m
(Rabin and Karp, 1987). Keeping the earlier ends of every key as a chain through one list, so that
the most recent occurrences are walked without a search, is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BASE = 1_000_003  # larger than any vocabulary, so gamma tokens are the digits of one number


class Match(NamedTuple):
    """An earlier occurrence of the text's end."""

    end: int
    """Index of the token that followed it; -1 = there is none."""
    length: int
    """Tokens that agree backwards from there; 0 = there is none."""


NO_MATCH = Match(-1, 0)


@final
@dataclass(kw_only=True)
class GramIndex:
    """A text with its gamma-grams; it grows at the end only."""

    gamma: int
    """Tokens in a gram."""
    modulus: int = 2**61 - 1
    """Modulus of the hash; a small one makes keys collide, which costs time, never truth."""
    text: list[int] = field(default_factory=list)
    """Every token so far; changed by `append` alone."""
    key: int = 0
    """Hash of the last gamma tokens (of fewer at the start)."""
    latest: dict[int, int] = field(default_factory=dict)
    """Hash -> the most recent end of an earlier gram that has it."""
    earlier: list[int] = field(default_factory=list)
    """End -> the end before it with the same hash, -1 at the first."""

    def append(self, tokens: Sequence[int]) -> None:
        """Extend the text; its last gram waits until a token follows it."""
        gamma, modulus = self.gamma, self.modulus
        out = pow(_BASE, gamma, modulus)
        text, latest, earlier, key = self.text, self.latest, self.earlier, self.key
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
        self.key = key

    def candidates(self) -> Iterator[int]:
        """Yield the ends of earlier grams with the key of the last one, most recent first."""
        end = self.latest.get(self.key, -1) if len(self.text) >= self.gamma else -1
        while end >= 0:
            yield end
            end = self.earlier[end]

    def longest(self, *, among: int, most: int, ignored: frozenset[int] = frozenset()) -> Match:
        """Return the match with the longest common past, the most recent one on a tie.

        Args:
            among: how many candidates are compared.
            most: agreement beyond so many tokens is not counted.
            ignored: a match wholly inside these tokens is none.
        """
        text, size = self.text, len(self.text)
        best = NO_MATCH
        for end in islice(self.candidates(), among):
            length, reach = 0, min(end, most)
            while length < reach and text[end - 1 - length] == text[size - 1 - length]:
                length += 1
            longer = length > best.length and length >= self.gamma
            if longer and not ignored.issuperset(text[size - length :]):
                best = Match(end, length)
        return best

    def copied(self, start: int, count: int) -> list[int]:
        """Return the tokens from `start`; a copy that runs into its own end goes on with itself."""
        copy = self.text[start : start + count]
        return copy if len(copy) == count else (copy * count)[:count]
