from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_cache import SHAPE

from rheostat.errors import MethodError
from rheostat.methods.cache.kv_direct import KvDirect


def checkpoints(dial, **params):
    return KvDirect(**params).at(dial, {}, SHAPE).checkpoints


def test_dial_zero_rebuilds_nothing():
    assert KvDirect().at(0.0, {}, SHAPE) is None


@given(dials=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), tokens=st.integers(1, 5000))
def test_a_higher_dial_keeps_fewer_keys_and_never_less_than_the_window(dials, tokens):
    low, high = (checkpoints(dial, window=16).kept(tokens) for dial in sorted(dials))
    assert low >= high >= 16


@pytest.mark.parametrize("params", [{"window": 0}, {"every": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="kv_direct"):
        KvDirect(**params)
