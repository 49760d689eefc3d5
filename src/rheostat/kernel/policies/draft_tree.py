"""Which tokens of a guess, and of the ways that leave it, are worth verifying together.

Token k of the guess is accepted with probability S(k), its survival; token j of a way that leaves
the guess behind token a with S(a) W(j), where W is the way's own survival once the guess held so
far. A pass over the n likeliest of all these tokens writes one more than the sum of their
probabilities, and the n with the most tokens a second in the machine's table is taken: in a chain
or a tree, whichever it is (the ranking is that of arXiv 2406.16858; learning S and W per kind of
guess and choosing n by a measured table is ours).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from rheostat.kernel.policies.draft_length import best_length
from rheostat.kernel.policies.token_tree import Trie

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.trails import Way


class Rated(NamedTuple):
    """A draft."""

    draft: Sequence[int]
    rate: float
    """Tokens a second that are expected of it."""


def best_draft(
    tokens: Sequence[int],
    survival: Sequence[float],
    seconds: Sequence[float],
    *,
    ways: Sequence[Way] = (),
    affordable: float = inf,
) -> Rated:
    """Return the draft with the most expected tokens a second, none where none pays.

    Args:
        tokens: a guess.
        survival: entry k - 1 is the probability that its first k tokens all hold.
        seconds: entry n - 1 is the cost of a pass over n new tokens; no draft is longer.
        ways: what leaves the guess.
        affordable: most that the pass may cost.
    """
    most = len(seconds) - 1
    if not ways:
        length, rate = best_length(survival, min(most, len(tokens)), seconds, affordable)
        return Rated(tokens[:length], rate)
    trie = Trie()
    trie.add(tokens, survival)
    for way in ways:
        reached = survival[way.at - 1] if way.at else 1.0
        chances = [reached * chance for chance in way.runs.survival]
        trie.add(way.tokens, chances, below=way.at - 1)
    ranked = trie.ranked()
    chances = [trie.chances[node] for node in ranked]
    length, rate = best_length(chances, min(most, len(ranked)), seconds, affordable)
    return Rated(trie.draft(ranked[:length]), rate)


def agreement(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common from the start on."""
    pairs = zip(first, second, strict=False)
    shorter = min(len(first), len(second))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
