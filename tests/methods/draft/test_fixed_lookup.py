import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_rows import SHAPE, random_text, simulate, start_of

from rheostat.errors import MethodError
from rheostat.methods.draft.fixed_lookup import FixedLookup


def proposal(prompt, limit=20, dial=1.0, **params):
    lookup = FixedLookup(**params).at(dial, {}, SHAPE)
    return list(lookup.propose(lookup.start(start_of(prompt)), limit))


def test_the_tokens_after_the_first_earlier_pair_are_copied():
    assert proposal([1, 2, 3, 4, 1, 2, 5, 6, 1, 2], draft=3) == [3, 4, 1]


def test_a_copy_ends_with_the_text():
    assert proposal([1, 2, 3, 1, 2]) == [3, 1, 2]


@pytest.mark.parametrize("prompt", [[], [1], [1, 2], [1, 2, 3]])
def test_without_an_earlier_pair_nothing_is_drafted(prompt):
    assert proposal(prompt) == []


def test_written_tokens_are_looked_up_too():
    lookup = FixedLookup(draft=2).at(1.0, {}, SHAPE)
    state = lookup.start(start_of([1, 2]))
    state = lookup.commit(state, [3, 4, 1, 2])
    assert list(lookup.propose(state, 5)) == [3, 4]


@given(text=st.lists(st.integers(0, 3)), dial=st.floats(0, 1), limit=st.integers(0, 30))
def test_drafts_keep_to_the_limit_and_the_dial(text, dial, limit):
    assert len(proposal(text, limit, dial)) <= min(limit, round(dial * 10 + 0.5))


@given(text=st.lists(st.integers(0, 3)), dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_dial_extends_the_draft(text, dials):
    short, long = (proposal(text, dial=d) for d in sorted(dials))
    assert long[: len(short)] == short


def test_dial_zero_drafts_nothing():
    text = random_text(0, 30)
    assert simulate(FixedLookup().at(0.0, {}, SHAPE), text, text).verified == 0


def test_it_pays_for_drafts_that_never_hold():
    text = random_text(1, 300, vocabulary=8)
    assert simulate(FixedLookup().at(1.0, {}, SHAPE), text[:100], text[100:]).price > 1.5


def test_a_draft_of_no_tokens_is_refused():
    with pytest.raises(MethodError, match=r"fixed_lookup\.draft"):
        FixedLookup(draft=0)
