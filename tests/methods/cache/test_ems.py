from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_cache import HEADS, SHAPE, SIZE, attended, attention, compacted, drawn, multiply, places

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import Border, Held
from rheostat.methods.cache.ems import Ems

LONG = 120


def eviction(dial, **params):
    return Ems(**params).at(dial, {}, SHAPE).eviction


def kept(held, dial=0.75, *, weights=None, **params):
    made = eviction(dial, **({"sinks": 2, "window": 4, "every": 8} | params))
    weights = attention(held.counts.shape[1]) if weights is None else weights
    return compacted(made, held, weights=weights).held


def test_dial_zero_lets_nothing_go():
    assert Ems().at(0.0, {}, SHAPE) is None


def test_two_identical_entries_merge_into_one_that_weighs_as_both():
    pairs = drawn(LONG // 2)
    newest = drawn(4, seed=1)
    twice = [np.repeat(part, 2, axis=1) for part in pairs]
    held = Held(*(np.concatenate(parts, axis=1) for parts in zip(twice, newest, strict=True)))
    weights = np.full((HEADS, 4, LONG + 4), 0.1, np.float32)
    weights[:, :, :LONG:2] = 0.9  # the first of each pair stays
    made = kept(held, dial=0.478, weights=weights, sinks=0, window=4, every=1)
    assert made.counts.tolist() == [[2.0] * (LONG // 2) + [1.0] * 4] * HEADS
    for query in np.random.default_rng(5).standard_normal((5, SIZE)).astype(np.float32):
        assert np.allclose(attended(query, made), attended(query, held), rtol=1e-4, atol=1e-5)


def test_over_the_highest_cosine_everything_else_is_evicted():
    held = drawn(LONG)
    merged, evicted = kept(held, similarity=1.0), kept(held, merged=0.0)
    assert places(merged) == places(evicted)
    assert (merged.counts == 1).all()
    for a, b in zip(merged, evicted, strict=True):
        assert (a == b).all()


def test_what_stays_is_chosen_by_every_head_and_untouched_where_nothing_joined():
    held = drawn(LONG)
    made = kept(held, similarity=0.5)
    assert len({tuple(row) for row in places(made)}) == HEADS
    alone = made.counts == 1
    assert alone.any()
    assert not alone.all()
    known = {tuple(row) for head in held.values for row in head}
    assert all(tuple(row) in known for row in made.values[alone])


@given(similarity=st.floats(-1, 1), merged=st.floats(0, 3), keys=st.booleans())
def test_no_token_counts_twice(similarity, merged, keys):
    held = drawn(LONG)
    made = kept(held, similarity=similarity, merged=merged, merge_keys=keys)
    assert (made.counts >= 1).all()
    assert (made.counts.sum(axis=1) <= LONG).all()
    assert np.isfinite(made.keys).all()
    assert np.isfinite(made.values).all()


def test_merged_keys_keep_the_length_of_their_centre():
    held = drawn(LONG)
    alone, merged = (kept(held, similarity=0.3, merge_keys=keys) for keys in (False, True))
    lengths = [np.linalg.norm(made.keys, axis=2) for made in (alone, merged)]
    assert np.allclose(*lengths, rtol=1e-5)
    assert not np.allclose(alone.keys, merged.keys)
    assert (alone.values == merged.values).all()


def test_an_early_entry_is_not_favoured_for_having_been_seen_by_more_tokens():
    weights = np.tile(np.tril(np.full((LONG, LONG), 0.01, np.float32)), (HEADS, 1, 1))
    state = eviction(0.5).observe(weights, None)
    assert state.received[0, 10] > 1.5 * state.received[0, 60]
    assert np.allclose(state.received / state.seen, 0.01)


def test_attention_taken_in_by_parts_is_attention_taken_in_at_once():
    made, weights = eviction(0.5), attention(LONG)
    whole, parts = made.observe(weights, None), None
    for start, end in ((0, 50), (50, 90), (90, LONG)):
        parts = made.observe(weights[:, start:end, :end], parts)
    assert np.allclose(whole.received, parts.received, atol=1e-5)
    assert (whole.seen == parts.seen).all()


def test_a_second_border_goes_on_from_the_first():
    made = eviction(0.75, sinks=2, window=4, every=8)
    first = compacted(made, drawn(LONG), weights=attention(LONG))
    new = drawn(8, seed=1)
    held = Held(*(np.concatenate(pair, axis=1) for pair in zip(first.held, new, strict=True)))
    entries = held.counts.shape[1]
    state = made.observe(attention(entries, n=8, seed=2), first.state)
    second = made.compact(held, Border(LONG + 8, 0, state, multiply))
    assert second.held.counts.shape[1] == made.entries(LONG + 8)
    assert (second.held.counts.sum(axis=1) <= held.counts.sum(axis=1)).all()
    assert (second.held.keys[:, -4:] == new.keys[:, -4:]).all()


@pytest.mark.parametrize("params", [{"merged": -1}, {"similarity": 2}, {"window": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="ems"):
        Ems(**params)
