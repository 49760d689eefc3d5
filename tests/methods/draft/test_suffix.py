import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_rows import (
    SHAPE,
    bfloat16_seconds,
    changed_copy,
    float32_seconds,
    random_text,
    simulate,
    start_of,
)

from rheostat.errors import MethodError
from rheostat.kernel.method import params_of, with_params
from rheostat.kernel.policies.draft_control import ALLOWANCE, START
from rheostat.methods.draft.copyspec import CopySpec
from rheostat.methods.draft.suffix import Suffix

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def drafter(dial=1.0, **params):
    return Suffix(**params).at(dial, {}, SHAPE)


def guessed(text, longest=3, special=frozenset(), **params):
    ((source, _),) = drafter(**params).sources
    guess = source.guess(source.start(start_of(text, special=special)), longest)
    return None if guess is None else list(guess.tokens)


def test_what_followed_the_longest_earlier_occurrence_is_guessed():
    assert guessed([1, 2, 3, 7, 8, 9, 5, 3, 4, 1, 2, 3]) == [7, 8, 9]


def test_the_more_frequent_continuation_is_preferred_to_the_more_recent():
    assert guessed([1, 2, 7, 0, 1, 2, 7, 4, 1, 2, 8, 5, 1, 2], longest=1) == [7]


def test_a_loop_goes_on():
    assert guessed([5, 6] * 4, longest=7) == [5, 6, 5, 6, 5, 6, 5]


def test_too_short_a_match_is_none():
    text = [1, 7, 8, 2, 7]
    assert guessed(text) == [8, 2, 7]
    assert guessed(text, shortest=2) is None


@pytest.mark.parametrize("text", [[], [1], [1, 2, 3]])
def test_a_text_without_repeats_has_no_guess(text):
    assert guessed(text) is None


def test_a_match_wholly_in_special_tokens_is_none():
    text = [1, 2, 7, 8, 1, 2]
    assert guessed(text, special=frozenset({1, 2})) is None
    assert guessed(text, special=frozenset({1})) == [7, 8, 1]


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, longest=st.integers(1, 30))
def test_every_guess_followed_the_end_of_the_text_before(text, longest):
    guess = guessed(text, longest)
    repeats = [e for e in range(1, len(text)) if text[e - 1] == text[-1]]
    assert (guess is None) == (not repeats)
    if guess:
        assert any(text[e] == guess[0] for e in repeats)
        assert len(guess) == longest


def test_dial_zero_drafts_nothing():
    text = random_text(0, 50) * 2
    assert simulate(drafter(0.0), text, text).verified == 0


@given(dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_dial_never_lowers_the_cap(dials):
    low, high = sorted(dials)
    assert drafter(low).cap <= drafter(high).cap <= Suffix().max_draft


@pytest.mark.parametrize("vocabulary", [2, 5, 20, 50_000])
@pytest.mark.parametrize("step_seconds", [float32_seconds, bfloat16_seconds])
def test_random_text_costs_at_most_the_allowance(vocabulary, step_seconds):
    text = random_text(2, 500, vocabulary)
    prices = simulate(drafter(), text[:200], text[200:], step_seconds=step_seconds)
    assert prices.price <= 1 + ALLOWANCE + START / 300


@pytest.mark.parametrize("step_seconds", [float32_seconds, bfloat16_seconds])
def test_suffixes_are_no_dearer_than_copies(step_seconds):
    source = random_text(7, 400)
    own, copies = [], []
    for kept in (0.5, 0.7, 0.9, 0.98):
        output = changed_copy(8, source, kept)
        own.append(simulate(drafter(), source, output, step_seconds=step_seconds).price)
        copying = CopySpec().at(1.0, {}, SHAPE)
        copies.append(simulate(copying, source, output, step_seconds=step_seconds).price)
    assert sum(own) < sum(copies)


def branches(text, longest=3, **params):
    ((source, _),) = drafter(**params).sources
    guess = source.guess(source.start(start_of(text)), longest)
    return [(b.at, list(b.tokens), b.kind) for b in guess.branches]


def test_where_counts_are_split_the_guess_branches():
    text = [1, 2, 7, 0, 1, 2, 7, 4, 1, 2, 8, 5, 1, 2]
    assert branches(text, longest=2) == []
    assert branches(text, longest=2, branches=2) == [(0, [8, 5], 8), (1, [0, 1], 8)]


def test_more_branches_keep_the_guess_and_add_ways():
    text = random_text(5, 300, 6)
    found = [branches(text, longest=8, branches=n) for n in (1, 2, 3, 4)]
    assert all(set(map(str, a)) <= set(map(str, b)) for a, b in itertools.pairwise(found))
    assert len(found[3]) > len(found[1]) > 0
    assert guessed(text, branches=4) == guessed(text)


@pytest.mark.parametrize("vocabulary", [2, 5, 20, 50_000])
@pytest.mark.parametrize("step_seconds", [float32_seconds, bfloat16_seconds])
def test_trees_over_random_text_cost_at_most_the_allowance(vocabulary, step_seconds):
    text = random_text(2, 500, vocabulary)
    branching = drafter(branches=3)
    prices = simulate(branching, text[:200], text[200:], step_seconds=step_seconds)
    assert prices.price <= 1 + ALLOWANCE + START / 300


def test_a_tree_beats_the_best_chain_where_the_text_forks_evenly():
    draw = random.Random(3)
    # a new token, two known ones, and then one of two ways
    text = [t for i in range(300) for t in (99 + i, 9, 8, *draw.choice([(0, 1), (2, 3)]), 7)]
    chain, tree = (
        simulate(drafter(branches=n), text[:300], text[300:], step_seconds=bfloat16_seconds)
        for n in (1, 2)
    )
    assert tree.price < 0.85 * chain.price


def test_parameters_survive_plain_data():
    method = Suffix(shortest=2, max_draft=8)
    assert with_params(Suffix, params_of(method)) == method


@pytest.mark.parametrize("params", [{"shortest": 0}, {"max_draft": 0}, {"branches": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="suffix"):
        Suffix(**params)
