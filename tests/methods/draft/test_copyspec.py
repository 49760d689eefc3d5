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
from rheostat.kernel.policies.draft_length import best_length
from rheostat.methods.draft.copyspec import CopySpec
from rheostat.methods.draft.fixed_lookup import FixedLookup

TEXTS = st.lists(st.integers(0, 3), max_size=60)


def cheap_drafts(n):
    return 1.0 + 0.001 * n


def drafter(dial=1.0, **params):
    return CopySpec(**params).at(dial, {}, SHAPE)


def warm(copying, prompt, **start):
    """A row whose copies are known to hold, so that every lookup is drafted."""
    state = copying.start(start_of(prompt, step_seconds=cheap_drafts, **start))
    for followed in state.followed:
        for runs in followed.runs:
            runs.survival[:] = [0.99] * len(runs.survival)
    return state


def proposal(prompt, limit=3, special=frozenset(), **params):
    copying = drafter(**params)
    return list(copying.propose(warm(copying, prompt, special=special), limit))


def test_the_tokens_after_the_last_two_are_copied():
    assert proposal([0, 2, 3, 7, 8, 9, 4, 1, 2, 3]) == [7, 8, 9]


def test_the_most_recent_of_equal_matches_is_copied():
    assert proposal([1, 2, 3, 7, 0, 1, 2, 3, 8, 5, 1, 2, 3], limit=1) == [8]


def test_a_longer_common_past_is_preferred_to_a_more_recent_one():
    assert proposal([9, 1, 2, 3, 7, 0, 1, 2, 3, 8, 9, 1, 2, 3], limit=1) == [7]


def test_a_copy_that_reaches_its_own_end_goes_on_with_itself():
    assert proposal([5, 6, 5, 6, 5, 6], limit=5) == [5, 6, 5, 6, 5]


@pytest.mark.parametrize("prompt", [[], [1], [1, 1], [1, 2, 3, 4, 5, 9, 2]])
def test_without_an_earlier_match_nothing_is_drafted(prompt):
    assert proposal(prompt) == []


def test_a_match_wholly_in_special_tokens_is_skipped():
    text = [1, 2, 3, 7, 8, 1, 2, 3]
    assert proposal(text, special=frozenset({1, 2, 3})) == []
    assert proposal(text, special=frozenset({1, 2})) == [7, 8, 1]


def test_a_match_that_reaches_beyond_special_tokens_counts():
    assert proposal([9, 1, 2, 3, 7, 8, 9, 1, 2, 3], special=frozenset({1, 2, 3})) == [7, 8, 9]


@settings(max_examples=100, deadline=None)
@given(prompt=TEXTS, written=TEXTS, modulus=st.sampled_from([2**61 - 1, 7, 1]))
def test_every_draft_followed_the_last_tokens_before_even_when_all_keys_collide(
    prompt, written, modulus
):
    copying = drafter(modulus=modulus)
    state = warm(copying, prompt)
    text = list(prompt)
    for token in written:
        draft = list(copying.propose(state, 2))
        ends = [e for e in range(2, len(text)) if text[e - 2 : e] == text[-2:]]
        assert not draft or any(text[e] == draft[0] for e in ends)
        state = copying.commit(state, [token])
        text.append(token)


@settings(max_examples=50, deadline=None)
@given(prompt=TEXTS, output=TEXTS.filter(len), dial=st.floats(0, 1), gamma=st.integers(1, 16))
def test_drafts_keep_to_the_limit_and_the_cap(prompt, output, dial, gamma):
    copying = drafter(dial, gamma=gamma)
    state = warm(copying, prompt)
    for token in output:
        for limit in (0, 1, 50):
            assert len(copying.propose(state, limit)) <= min(limit, copying.cap)
        state = copying.commit(state, [token])


def test_dial_zero_drafts_nothing():
    text = random_text(0, 50) * 2
    assert simulate(drafter(0.0), text, text).verified == 0


@given(dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_dial_never_lowers_the_cap(dials):
    low, high = sorted(dials)
    assert drafter(low).cap <= drafter(high).cap <= CopySpec().max_draft


def test_a_copy_writes_more_than_three_tokens_a_step():
    source = random_text(1, 200)
    assert simulate(drafter(), source, source).tokens_per_step > 3


@pytest.mark.parametrize("vocabulary", [5, 8, 20, 100, 50_000])
@pytest.mark.parametrize("step_seconds", [float32_seconds, bfloat16_seconds])
@pytest.mark.parametrize("dial", [0.25, 1.0])
def test_random_text_costs_at_most_the_allowance(vocabulary, step_seconds, dial):
    text = random_text(2, 500, vocabulary)
    prices = simulate(drafter(dial), text[:200], text[200:], step_seconds=step_seconds)
    assert prices.price <= 1 + ALLOWANCE + START / 300


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.9, 1.0])
def test_the_price_is_near_that_of_the_best_length_known_beforehand(kept):
    source = random_text(3, 400)
    output = changed_copy(4, source, kept)
    cap = drafter().cap
    best = best_length(
        [kept**k for k in range(1, cap + 1)], cap, [float32_seconds(n) for n in range(1, cap + 2)]
    )[0]
    oracle = simulate(KnownLength(drafter(), best), source, output).price
    assert simulate(drafter(), source, output).price <= oracle * 1.1 + 0.03


class KnownLength:
    """The same lookups at a length that was chosen beforehand."""

    def __init__(self, copying, length):
        self.copying, self.length = copying, length

    def start(self, start):
        return self.copying.start(start)

    def propose(self, state, limit):
        guess = state.followed[0].source.guess(state.followed[0].state, self.length)
        return guess.tokens[:limit] if guess else ()

    def commit(self, state, tokens):
        return self.copying.commit(state, tokens)


def test_free_scoring_finds_copies_again_after_a_text_without_any():
    source, other = random_text(5, 300), random_text(6, 300, vocabulary=6)
    copying = drafter()
    first = simulate(copying, source, source[:100]).price
    changed = simulate(copying, source + other, source[:100] + other[:200] + source[100:200])
    assert first < 0.25
    assert changed.price * 400 <= first * 200 + 200 * (1 + ALLOWANCE) + START + 10


def test_copies_that_are_scored_follow_one_another():
    """A copy inside one that still holds would be counted as often as it is long."""
    copying = drafter()
    source = random_text(11, 60)
    state = copying.start(start_of(source * 2, step_seconds=float))
    before = sum(runs.seen for runs in state.followed[0].runs)
    for token in source[:48]:
        copying.propose(state, 30)
        state = copying.commit(state, [token])
    assert sum(runs.seen for runs in state.followed[0].runs) - before == 48 // 24


@pytest.mark.parametrize("step_seconds", [float32_seconds, bfloat16_seconds])
def test_adaptive_copies_cost_less_than_a_fixed_lookup(step_seconds):
    source = random_text(7, 400)
    fixed = FixedLookup().at(1.0, {}, SHAPE)
    own, control = [], []
    for kept in (0.5, 0.7, 0.9, 0.98):
        output = changed_copy(8, source, kept)
        own.append(simulate(drafter(), source, output, step_seconds=step_seconds).price)
        control.append(simulate(fixed, source, output, step_seconds=step_seconds).price)
    assert all(a <= b * 1.02 for a, b in zip(own, control, strict=True))
    assert sum(own) < sum(control)


def test_the_same_row_gets_the_same_drafts():
    source = random_text(9, 200)
    output = changed_copy(10, source, 0.8)
    assert simulate(drafter(), source, output) == simulate(drafter(), source, output)


def test_parameters_survive_plain_data():
    method = CopySpec(gamma=4, max_draft=8)
    assert with_params(CopySpec, params_of(method)) == method


@pytest.mark.parametrize("params", [{"gamma": 0}, {"gamma": 17}, {"max_draft": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="copyspec"):
        CopySpec(**params)
