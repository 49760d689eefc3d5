"""Drafts that branch: several ways in which a text may go on, verified in one pass.

A draft is a sequence of tokens; a `TokenTree` is one that says which token each of them hangs on.
A plain sequence is the chain, in which every token hangs on the one before. Trees of drafts are in
arXiv 2305.09781 (SpecInfer). A `Trie` collects guesses with their chances. As no token is likelier
than the one that it hangs on, the n likeliest tokens always are a tree, and no other tree of n
tokens is expected to be accepted for longer (as in arXiv 2402.12374 and 2406.16858).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]

WRITTEN = -1
"""The parent of tokens that hang on the last written one."""


@final
@dataclass(frozen=True)
class TokenTree(Sequence[int]):
    """The tokens of a draft that branches, a parent always before its children."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    """For each token the index of the one that it hangs on; -1 = the last written token."""

    def __post_init__(self) -> None:
        """See to it that parents come first."""
        assert len(self.parents) == len(self.tokens)
        assert all(WRITTEN <= parent < i for i, parent in enumerate(self.parents))

    def __len__(self) -> int:
        return len(self.tokens)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[int, ...]: ...
    def __getitem__(self, at: int | slice) -> int | tuple[int, ...]:
        return self.tokens[at]


def parents_of(draft: Sequence[int]) -> Sequence[int]:
    """Return the parent of every token of a draft, whether it branches or not."""
    if isinstance(draft, TokenTree):
        return draft.parents
    return range(WRITTEN, len(draft) - 1)


def clipped(draft: Sequence[int], most: int) -> Sequence[int]:
    """Return the first tokens of a draft, at most so many of them."""
    if isinstance(draft, TokenTree):
        if len(draft) <= most:
            return draft
        return TokenTree(draft.tokens[:most], draft.parents[:most])
    return tuple(draft[:most])


def first_branch(draft: Sequence[int]) -> Sequence[int]:
    """Return the tokens of a draft before it branches and, from there, of its first way on."""
    if not isinstance(draft, TokenTree):
        return draft
    path: list[int] = []
    for node, parent in enumerate(draft.parents):
        if parent == (path[-1] if path else WRITTEN):
            path.append(node)
    return tuple(draft.tokens[node] for node in path)


def depths(parents: Sequence[int]) -> list[int]:
    """Return how many tokens of the draft come before each one."""
    found: list[int] = []
    for parent in parents:
        found.append(0 if parent == WRITTEN else found[parent] + 1)
    return found


def children(parents: Sequence[int]) -> list[list[int]]:
    """Return what hangs on the last written token, then what hangs on each token: n + 1 lists."""
    found: list[list[int]] = [[] for _ in range(len(parents) + 1)]
    for node, parent in enumerate(parents):
        found[parent + 1].append(node)
    return found


def path_to(parents: Sequence[int], node: int) -> tuple[int, ...]:
    """Return the tokens from the written text down to a token, which is the last of them."""
    path: list[int] = []
    while node != WRITTEN:
        path.append(node)
        node = parents[node]
    return tuple(reversed(path))


def ancestry(parents: Sequence[int]) -> Bools:
    """Return [n, n]: whether token j is token i or one that i hangs on, however far above."""
    seen: Bools = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents):
        if parent != WRITTEN:
            seen[node] |= seen[parent]
    return seen


@final
@dataclass(kw_only=True)
class Trie:
    """Guesses that share what they have in common, and the chance of each of their tokens."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)
    """Probability that a token is accepted with all that it hangs on; never over its parent's."""
    _known: dict[tuple[int, int], int] = field(default_factory=dict)
    """(Parent, token) -> its index."""

    def add(self, tokens: Sequence[int], chances: Sequence[float], *, below: int = WRITTEN) -> int:
        """Put a chain in; a token that is there already keeps its greater chance.

        Args:
            chances: one for each token, at least.
            below: the token on which the first one hangs.

        Returns:
            The index of the last token.
        """
        for token, own in zip(tokens, chances, strict=False):
            chance = own if below == WRITTEN else min(own, self.chances[below])
            node = self._known.setdefault((below, token), len(self.tokens))
            if node == len(self.tokens):
                self.tokens.append(token)
                self.parents.append(below)
                self.chances.append(chance)
            elif chance > self.chances[node]:
                self.chances[node] = chance
            below = node
        return below

    def ranked(self) -> list[int]:
        """Return the tokens from the likeliest on; parents come before their children."""
        return sorted(range(len(self.tokens)), key=lambda node: (-self.chances[node], node))

    def draft(self, nodes: Sequence[int]) -> Sequence[int]:
        """Return the draft of some tokens and no others, in the order in which they were added.

        It is a plain sequence where they are a chain.
        """
        kept = sorted(nodes)
        place = {node: i for i, node in enumerate(kept)} | {WRITTEN: WRITTEN}
        tokens = tuple(self.tokens[node] for node in kept)
        parents = tuple(place[self.parents[node]] for node in kept)
        chain = all(parent == i - 1 for i, parent in enumerate(parents))
        return tokens if chain else TokenTree(tokens, parents)
