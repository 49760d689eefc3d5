from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rheostat.kernel.kv_cache import Held
from rheostat.kernel.policies.kv_budget import KvBudget, budget_at, places_of, taken

SCORES = arrays(np.float32, (2, 20), elements=st.floats(-5, 5, width=32) | st.just(np.nan))


@given(scores=SCORES, sinks=st.integers(0, 3), window=st.integers(1, 4))
def test_every_entry_is_ranked_once_sinks_and_newest_first(scores, sinks, window):
    budget = KvBudget(share=0.5, sinks=sinks, window=window, every=4)
    ranking = budget.ranked(scores)
    assert (np.sort(ranking, axis=1) == np.arange(20)).all()
    always = {*range(sinks), *range(20 - window, 20)}
    for head, row in enumerate(ranking):
        assert set(row[: len(always)]) == always
        rest = scores[head][row[len(always) :]]
        numbers = rest[~np.isnan(rest)]
        assert (np.diff(numbers) <= 0).all()
        assert np.isnan(rest[len(numbers) :]).all()


def test_a_budget_keeps_its_share_and_never_less_than_what_always_stays():
    budget = KvBudget(share=0.25, sinks=4, window=32, every=64)
    assert [budget.entries(n) for n in (10, 100, 4096)] == [36, 36, 976]


def test_dial_zero_has_no_budget_and_the_others_the_rest_of_one():
    assert budget_at(0.0, sinks=1, window=1, every=1) is None
    made = budget_at(0.75, sinks=1, window=1, every=1)
    assert made is not None
    assert made.share == 0.25


def test_entries_are_taken_for_every_head_by_itself():
    keys = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    held = Held(keys, keys + 100, keys[..., 0])
    made = taken(held, np.array([[0, 3], [1, 2]]))
    assert (made.keys == np.stack([keys[0, [0, 3]], keys[1, [1, 2]]])).all()
    assert (made.values == made.keys + 100).all()
    assert (made.counts == made.keys[..., 0]).all()


@pytest.mark.parametrize("known", [None, np.array([[0, 5], [2, 6]])])
def test_places_go_on_behind_those_that_are_known(known):
    places = places_of(known, 2, 5, 10)
    new = [7, 8, 9]
    wanted = [[5, 6, *new]] * 2 if known is None else [[0, 5, *new], [2, 6, *new]]
    assert places.tolist() == wanted
