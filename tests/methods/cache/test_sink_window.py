from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_cache import HEADS, SHAPE, compacted, drawn, places

from rheostat.errors import MethodError
from rheostat.methods.cache.sink_window import SinkWindow

DIALS = st.floats(0.01, 1)


def eviction(dial, **params):
    return SinkWindow(**params).at(dial, {}, SHAPE).eviction


def test_dial_zero_lets_nothing_go():
    assert SinkWindow().at(0.0, {}, SHAPE) is None


def test_the_first_and_the_newest_tokens_stay():
    kept = compacted(eviction(1.0, sinks=2, window=3), drawn(100)).held
    assert places(kept) == [[0, 1, 97, 98, 99]] * HEADS
    wider = compacted(eviction(0.75, sinks=2, window=3, every=20), drawn(100)).held
    assert places(wider) == [[0, 1, *range(92, 100)]] * HEADS


def test_what_stays_is_what_was_held():
    held = drawn(90)
    kept = compacted(eviction(0.9), held).held
    for head, at in enumerate(places(kept)):
        assert (kept.keys[head] == held.keys[head][at]).all()
        assert (kept.values[head] == held.values[head][at]).all()


@given(dial=DIALS, tokens=st.integers(40, 3000))
def test_a_row_holds_its_share_of_the_tokens_at_most(dial, tokens):
    made = eviction(dial)
    kept = made.entries(tokens)
    assert kept == 36 or kept + made.every <= (1 - dial) * (tokens + made.every)


@given(dials=st.tuples(DIALS, DIALS), tokens=st.integers(1, 3000))
def test_a_higher_dial_keeps_no_more(dials, tokens):
    low, high = (eviction(dial).entries(tokens) for dial in sorted(dials))
    assert high <= low


@pytest.mark.parametrize("params", [{"sinks": -1}, {"window": 0}, {"every": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="sink_window"):
        SinkWindow(**params)
