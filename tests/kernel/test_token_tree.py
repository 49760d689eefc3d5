"""Trees of draft tokens: shape, what each token sees, and the likeliest ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.token_tree import (
    TokenTree,
    Trie,
    ancestry,
    children,
    clipped,
    depths,
    first_branch,
    parents_of,
    path_to,
)

PARENTS = st.lists(st.floats(0, 1), max_size=9).map(
    lambda parts: tuple(int(part * (i + 0.99)) - 1 for i, part in enumerate(parts))
)
CHAINS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), max_size=5)
BRANCHING = (-1, 0, 0, 2, -1)
"""Two tokens on the first one, one on the second of these, and one beside the first."""


def test_a_tree_by_hand():
    assert depths(BRANCHING) == [0, 1, 1, 2, 0]
    assert children(BRANCHING) == [[0, 4], [1, 2], [], [3], [], []]
    assert [path_to(BRANCHING, node) for node in (-1, 1, 3, 4)] == [(), (0, 1), (0, 2, 3), (4,)]
    assert ancestry(BRANCHING).astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@given(PARENTS)
def test_a_token_sees_its_path_and_nothing_else(parents):
    sees = ancestry(parents)
    for node in range(len(parents)):
        path = path_to(parents, node)
        assert np.flatnonzero(sees[node]).tolist() == list(path)
        assert depths(parents)[node] == len(path) - 1
        assert node in children(parents)[parents[node] + 1]


@given(n=st.integers(0, 6))
def test_a_plain_sequence_is_a_chain(n):
    parents = parents_of([7] * n)
    assert depths(parents) == list(range(n))
    assert (ancestry(parents) == np.tri(n, dtype=bool)).all()


@given(PARENTS, st.integers(0, 12))
def test_the_first_tokens_of_a_tree_are_a_tree(parents, most):
    tree = TokenTree(tuple(range(len(parents))), parents)
    short = clipped(tree, most)
    assert (list(short), list(parents_of(short))) == (list(tree)[:most], list(parents[:most]))


@pytest.mark.parametrize("parents", [(0,), (-1, 1), (-2,), (-1, -1, -1)])
def test_a_parent_must_come_before_its_children(parents):
    with pytest.raises(AssertionError):
        TokenTree((5, 6)[: len(parents)], parents)


@given(CHAINS)
def test_a_trie_holds_every_chain_and_shares_what_they_begin_with(chains):
    trie = Trie()
    ends = [trie.add(chain, [1.0] * len(chain)) for chain in chains]
    for chain, end in zip(chains, ends, strict=True):
        assert [trie.tokens[node] for node in path_to(trie.parents, end)] == chain
    beginnings = {tuple(chain[:n]) for chain in chains for n in range(1, len(chain) + 1)}
    assert len(trie.tokens) == len(beginnings)


def grown(chains):
    """A trie whose chances fall along every chain."""
    trie = Trie()
    for i, chain in enumerate(chains):
        trie.add(chain, [(0.9 - 0.13 * i) * 0.8**k for k in range(len(chain))])
    return trie


@given(CHAINS)
def test_the_likeliest_tokens_are_the_best_tree_of_their_number(chains):
    trie = grown(chains)
    ranked = trie.ranked()
    for n in range(min(len(ranked), 5) + 1):
        best = max(
            sum(trie.chances[node] for node in nodes)
            for nodes in combinations(range(len(trie.tokens)), n)
            if all(trie.parents[node] in {-1, *nodes} for node in nodes)
        )
        assert sum(trie.chances[node] for node in ranked[:n]) == pytest.approx(best)


@given(CHAINS)
def test_a_draft_of_the_likeliest_tokens_keeps_their_paths(chains):
    trie = grown(chains)
    for n in range(len(trie.tokens) + 1):
        nodes = trie.ranked()[:n]
        draft = trie.draft(nodes)
        parents = parents_of(draft)
        paths = {tuple(draft[i] for i in path_to(parents, node)) for node in range(n)}
        assert paths == {
            tuple(trie.tokens[i] for i in path_to(trie.parents, node)) for node in nodes
        }
        assert isinstance(draft, TokenTree) == (max(depths(parents), default=-1) < n - 1)


def test_a_token_that_two_guesses_hold_keeps_the_greater_chance():
    trie = Trie()
    trie.add([1, 2], [0.5, 0.4])
    trie.add([1, 3], [0.7, 0.1])
    trie.add([4], [0.9], below=trie.add([1], [0.0]))
    assert trie.chances == [0.7, 0.4, 0.1, 0.7]


@pytest.mark.parametrize(
    ("parents", "path"),
    [((-1, 0, 1), (0, 1, 2)), ((-1, 0, 0, 1), (0, 1, 3)), ((-1, -1, 1), (0,)), ((), ())],
)
def test_the_first_branch_is_the_first_way_on_at_every_token(parents, path):
    tokens = tuple(range(10, 10 + len(parents)))
    found = first_branch(TokenTree(tokens, parents))
    assert found == tuple(tokens[node] for node in path)
    assert first_branch(tokens) == tokens
