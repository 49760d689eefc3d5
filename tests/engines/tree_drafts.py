"""Drafters that propose trees: the right tokens among wrong ones, or guesses by a rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rheostat.kernel.policies.token_tree import TokenTree, Trie, clipped


def tree_of(*chains):
    """The tree of some guesses, a TokenTree even where it is a chain."""
    trie = Trie()
    for chain in chains:
        trie.add(chain, [1.0] * len(chain))
    return TokenTree(tuple(trie.tokens), tuple(trie.parents))


def shaped(parts):
    """A tree from (place of the parent in [0, 1], token) pairs; no two siblings are alike."""
    trie, ends = Trie(), [-1]
    for part, token in parts:
        ends.append(trie.add([token], [1.0], below=ends[int(part * (len(ends) - 0.01))]))
    return TokenTree(tuple(trie.tokens), tuple(trie.parents))


@dataclass(frozen=True)
class TreeDrafter:
    """Proposes the tree of the chains that `guess(tokens so far)` gives; remembers the trees."""

    guess: Any
    made: list[TokenTree] = field(default_factory=list)

    def start(self, start):
        return list(start.prompt)

    def propose(self, state, limit):
        self.made.append(clipped(tree_of(*self.guess(state)), limit))
        return self.made[-1]

    def commit(self, state, tokens):
        return [*state, *tokens]


def knowing(answers, proposals):
    """A drafter that knows the answers {prompt: tokens} and hides them among wrong tokens.

    For each place of the answer a proposal says how many right tokens there are, and with how many
    tokens that are wrong from where on the right ones are beset: (right, [(from, [wrong, ...])]).
    """

    def guess(tokens):
        (start,) = [p for p in answers if tuple(tokens[: len(p)]) == p]
        at = len(tokens) - len(start)
        right, others = proposals[at % len(proposals)]
        known = list(answers[start][at : at + right])
        beset = [[*known[:place], *wrong] for place, wrong in others if wrong]
        middle = len(beset) // 2
        return [chain for chain in (*beset[:middle], known, *beset[middle:]) if chain]

    return TreeDrafter(guess)
