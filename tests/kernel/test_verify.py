"""Verified drafts: the same tokens when greedy, the same law when sampled."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rheostat.kernel.policies.sampling import distribution, draw
from rheostat.kernel.policies.token_tree import TokenTree, Trie, parents_of, path_to
from rheostat.kernel.policies.verify import Verified, verify_greedy, verify_sampled

TOKENS = st.integers(0, 2)
LAWS = np.array([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9], [0.25, 0.5, 0.25]])
"""The law of each place; in this toy a token does not depend on the ones before."""


@given(st.lists(TOKENS, min_size=1, max_size=6), st.lists(TOKENS, max_size=5))
def test_greedy_writes_what_would_have_been_written_without_a_draft(
    choices: list[int], draft: list[int]
) -> None:
    draft = draft[: len(choices) - 1]
    verified = verify_greedy(choices, draft)
    n = verified.accepted
    assert verified.tokens == tuple(choices[: n + 1])
    assert draft[:n] == choices[:n]
    assert n == len(draft) or draft[n] != choices[n]


@given(st.lists(TOKENS, min_size=1, max_size=6), st.lists(TOKENS, max_size=5))
def test_sampling_a_certain_law_is_greedy(choices: list[int], draft: list[int]) -> None:
    draft = draft[: len(choices) - 1]
    laws = distribution(np.eye(3)[choices], temperature=0)
    rng = np.random.default_rng(0)
    assert verify_sampled(laws, draft, rng) == verify_greedy(choices, draft)


@pytest.mark.parametrize("draft", [(0, 2), (1, 2), (2, 0), (1, 1), (0,)])
def test_drafted_sampling_has_the_law_of_plain_sampling(draft: tuple[int, ...]) -> None:
    runs = 6000
    rng = np.random.default_rng(sum(3**i * token for i, token in enumerate(draft)))
    drafted, plain = Counter(), Counter()
    for _ in range(runs):
        written = list(verify_sampled(LAWS[: len(draft) + 1], draft, rng).tokens)
        written += [draw(law, rng) for law in LAWS[len(written) :]]
        drafted[tuple(written)] += 1
    for place in np.ndindex(3, 3, 3):
        plain[place] = LAWS[0][place[0]] * LAWS[1][place[1]] * LAWS[2][place[2]] * runs
    possible = [place for place in plain if plain[place] > 0]
    assert set(drafted) <= set(possible)
    result = stats.chisquare([drafted[p] for p in possible], [plain[p] for p in possible])
    assert result.pvalue > 0.01


def test_a_draft_is_accepted_with_its_probability() -> None:
    rng = np.random.default_rng(7)
    accepted = sum(verify_sampled(LAWS[:2], (1,), rng).accepted for _ in range(4000))
    assert stats.binomtest(accepted, 4000, 0.3).pvalue > 0.01


def test_a_token_that_holds_all_the_mass_is_never_refused() -> None:
    rounded = np.array([[0.0, 1.0 - 1e-9, 0.0], [1.0, 0.0, 0.0]])
    rng = np.random.default_rng(1)
    found = {verify_sampled(rounded, (1,), rng) for _ in range(200)}
    assert found == {Verified(tokens=(1, 0), accepted=1)}


EIGHT = np.random.default_rng(3).dirichlet(np.ones(8), size=4)
"""A model's laws at four places, over eight tokens,"""
OWN = np.random.default_rng(4).dirichlet(np.ones(8), size=3)
"""and what a draft draws its tokens from."""


def test_drafts_that_were_drawn_keep_the_law_of_the_model() -> None:
    """The draft is as long as its own tokens make it, and every drawn token is kept."""
    runs = 50_000
    rng = np.random.default_rng(11)
    first, second = Counter(), Counter()
    for _ in range(runs):
        draft: list[int] = []
        while len(draft) < 3 and (not draft or draft[-1] % 2 or rng.random() < 0.5):
            draft.append(draw(OWN[len(draft)], rng))
        k = len(draft)
        written = list(verify_sampled(EIGHT[: k + 1], draft, rng, OWN[:k]).tokens)
        written += [draw(law, rng) for law in EIGHT[len(written) : 2]]
        first[written[0]] += 1
        second[written[1]] += 1
    for place, found in enumerate((first, second)):
        expected = EIGHT[place] / EIGHT[place].sum() * runs
        assert stats.chisquare([found[t] for t in range(8)], expected).pvalue > 0.01


def test_a_drawn_token_is_accepted_as_often_as_the_laws_overlap() -> None:
    rng = np.random.default_rng(5)
    drafts = [draw(OWN[0], rng) for _ in range(20_000)]
    accepted = sum(verify_sampled(EIGHT[:2], [t], rng, OWN[:1]).accepted for t in drafts)
    overlap = float(np.minimum(EIGHT[0], OWN[0]).sum())
    assert stats.binomtest(accepted, 20_000, overlap).pvalue > 0.01


@given(st.lists(TOKENS, min_size=1, max_size=6), st.lists(TOKENS, max_size=5))
def test_a_token_drawn_from_a_certain_law_is_a_copy(choices: list[int], draft: list[int]) -> None:
    draft = draft[: len(choices) - 1]
    laws = LAWS[[choice % 3 for choice in choices]]
    certain = np.eye(3)[draft]
    same = [verify_sampled(laws, draft, np.random.default_rng(9), own) for own in (None, certain)]
    assert same[0] == same[1]


def test_a_token_from_the_model_s_own_law_is_never_refused() -> None:
    rng = np.random.default_rng(6)
    drafts = [[draw(law, rng) for law in EIGHT[:3]] for _ in range(500)]
    assert all(verify_sampled(EIGHT, d, rng, EIGHT[:3]).accepted == 3 for d in drafts)


def test_without_a_draft_one_token_is_written() -> None:
    verified = verify_sampled(LAWS[1:2], (), np.random.default_rng(0))
    assert (len(verified.tokens), verified.accepted) == (1, 0)
    assert verify_greedy([2], ()) == Verified(tokens=(2,), accepted=0)


# drafts that branch


def tree_of(chains: list[list[int]]) -> TokenTree:
    trie = Trie()
    for chain in chains:
        trie.add(chain, [1.0] * len(chain))
    return TokenTree(tuple(trie.tokens), tuple(trie.parents))


TREES = st.lists(st.lists(TOKENS, min_size=1, max_size=4), max_size=5).map(tree_of)


def law_after(text: tuple[int, ...]) -> np.ndarray:
    """A law that depends on all tokens before."""
    weights = np.array([1.0, 2.0, 3.0]) ** ((sum((i + 2) * t for i, t in enumerate(text))) % 5 - 2)
    return weights / weights.sum()


def paths(draft: TokenTree) -> list[tuple[int, ...]]:
    """The text before each choice: behind the written text and behind each token."""
    parents = parents_of(draft)
    nodes = (path_to(parents, node) for node in range(-1, len(draft)))
    return [tuple(draft[i] for i in path) for path in nodes]


@given(TREES, st.integers(0, 2))
def test_a_greedy_walk_writes_what_would_have_been_written_and_goes_as_deep_as_it_can(
    tree: TokenTree, shift: int
) -> None:
    def choice(text: tuple[int, ...]) -> int:
        return int((law_after(text).argmax() + shift) % 3)

    verified = verify_greedy([choice(path) for path in paths(tree)], tree)
    written: tuple[int, ...] = ()
    for token in verified.tokens:
        assert token == choice(written)
        written += (token,)
    assert tuple(tree[i] for i in verified.path) == verified.tokens[:-1]
    assert verified.accepted == len(verified.path)
    assert verified.tokens not in paths(tree)


@given(st.lists(TOKENS, min_size=1, max_size=5), st.integers(0, 99))
def test_a_tree_that_is_a_chain_is_verified_as_one(draft: list[int], seed: int) -> None:
    tree = TokenTree(tuple(draft), tuple(range(-1, len(draft) - 1)))
    laws = np.array([law_after(path) for path in paths(tree)])
    first, second = (
        verify_sampled(laws, one, np.random.default_rng(seed)) for one in (draft, tree)
    )
    assert (first.tokens, first.accepted) == (second.tokens, second.accepted)
    choices = laws.argmax(axis=-1).tolist()
    assert verify_greedy(choices, draft).tokens == verify_greedy(choices, tree).tokens


@given(TREES)
def test_sampling_a_certain_law_walks_greedily(tree: TokenTree) -> None:
    choices = [int(law_after(path).argmax()) for path in paths(tree)]
    rng = np.random.default_rng(0)
    assert verify_sampled(np.eye(3)[choices], tree, rng) == verify_greedy(choices, tree)


@pytest.mark.parametrize(
    "tree",
    [
        TokenTree((2, 0, 1), (-1, -1, -1)),
        TokenTree((0, 1, 2, 1, 0), (-1, -1, 0, 0, 1)),
        TokenTree((1, 1, 2), (-1, -1, 1)),
        TokenTree((2, 1, 0, 2), (-1, 0, 0, -1)),
    ],
)
def test_a_sampled_walk_has_the_law_of_plain_sampling(tree: TokenTree) -> None:
    runs = 6000
    rng = np.random.default_rng(sum(tree.parents) + 100)
    laws = np.array([law_after(path) for path in paths(tree)])
    found: Counter[tuple[int, ...]] = Counter()
    for _ in range(runs):
        written = verify_sampled(laws, tree, rng).tokens
        while len(written) < 3:
            written += (draw(law_after(written), rng),)
        found[written[:3]] += 1
    places = list(np.ndindex(3, 3, 3))
    expected = [
        runs * law_after(())[a] * law_after((a,))[b] * law_after((a, b))[c] for a, b, c in places
    ]
    assert stats.chisquare([found[place] for place in places], expected).pvalue > 0.01
    assert sum(found.values()) == runs
