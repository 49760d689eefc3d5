"""The best tree of a guess and its ways, against trying all of them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.draft_length import best_length
from rheostat.kernel.policies.draft_tree import agreement, best_draft
from rheostat.kernel.policies.run_lengths import RunLengths
from rheostat.kernel.policies.token_tree import TokenTree, depths, parents_of
from rheostat.kernel.policies.trails import Way

FLAT = [1.0, 1.02, 1.04, 1.06, 1.08, 1.1, 1.12]
STEEP = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
JUMPY = [1.0, 1.3, 1.3, 1.8, 1.2, 1.9, 2.3]
SHARES = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(
    lambda parts: [parts[0], parts[0] * parts[1], parts[0] * parts[1] * parts[2]]
)
WAYS = st.lists(st.tuples(st.integers(0, 2), SHARES), max_size=3)


def ways_of(found):
    """Ways of three tokens; no two of them begin alike at one place."""
    return [
        Way(at, [100 + 10 * i, 5, 6], RunLengths(survival=shares, seen=1.0))
        for i, (at, shares) in enumerate(found)
    ]


def best_of_all(survival, ways, seconds):
    """The most tokens a second of any prefix of the guess with any prefixes of the ways."""
    rates = [1.0 / seconds[0]]
    for own, *taken in product(range(4), *[range(4)] * len(ways)):
        if any(n and way.at > own for n, way in zip(taken, ways, strict=True)):
            continue
        tokens = 1 + sum(survival[:own])
        for n, way in zip(taken, ways, strict=True):
            tokens += (survival[way.at - 1] if way.at else 1) * sum(way.runs.survival[:n])
        size = own + sum(taken)
        if size < len(seconds):
            rates.append(tokens / seconds[size])
    return max(rates)


@given(SHARES, WAYS, st.sampled_from([FLAT, STEEP, JUMPY]))
def test_no_other_tree_is_expected_to_write_more_tokens_a_second(survival, found, seconds):
    # a way is a share of what arrives at its place, so it cannot be likelier than what it hangs on
    ways = ways_of(found)
    rated = best_draft([1, 2, 3], survival, seconds, ways=ways)
    assert rated.rate == pytest.approx(best_of_all(survival, ways, seconds))
    assert len(rated.draft) < len(seconds)


@given(SHARES, st.sampled_from([FLAT, STEEP, JUMPY]), st.floats(0.5, 4))
def test_without_ways_it_is_the_best_chain(survival, seconds, affordable):
    draft, rate = best_draft([1, 2, 3], survival, seconds, affordable=affordable)
    length, best = best_length(survival, 3, seconds, affordable)
    assert (list(draft), rate) == ([1, 2, 3][:length], best)


@given(SHARES, WAYS, st.sampled_from([FLAT, STEEP, JUMPY]), st.floats(0.5, 4))
def test_a_tree_is_no_dearer_than_what_can_be_afforded(survival, found, seconds, affordable):
    ways = ways_of(found)
    draft, _ = best_draft([1, 2, 3], survival, seconds, ways=ways, affordable=affordable)
    assert not draft or seconds[len(draft)] <= affordable


def test_where_the_text_forks_evenly_both_ways_are_tried_and_where_not_one():
    even, rare = (RunLengths(survival=[p, p], seen=1.0) for p in (0.45, 0.02))
    for runs, branches in ((even, True), (rare, False)):
        draft, _ = best_draft([1, 2], [0.5, 0.45], FLAT, ways=[Way(0, [7, 8], runs)])
        assert isinstance(draft, TokenTree) == branches
        assert depths(parents_of(draft)) == ([0, 1, 0, 1] if branches else [0, 1])


def test_two_ways_that_begin_alike_share_their_tokens():
    runs = RunLengths(survival=[0.4, 0.4, 0.4], seen=1.0)
    ways = [Way(1, [7, 8], runs), Way(1, [7, 9], runs)]
    draft, _ = best_draft([1, 2], [0.9, 0.5], FLAT, ways=ways)
    assert sorted(draft) == [1, 2, 7, 8, 9]


def test_agreement_counts_the_tokens_in_common():
    assert [agreement(a, b) for a, b in (("ab", "abc"), ("xb", "ab"), ("", "a"))] == [2, 0, 0]
