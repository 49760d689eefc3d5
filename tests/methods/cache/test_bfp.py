from __future__ import annotations

import numpy as np
import pytest
from toy_cache import HEADS, SHAPE, SIZE, drawn

from rheostat.errors import MethodError
from rheostat.methods.cache.bfp import Bfp


def coder(dial=1.0, **params):
    return Bfp(**({"block": 4} | params)).at(dial, {}, SHAPE).coder


def outliers():
    """Keys of which a few channels, far apart, are large in every token."""
    held = drawn(50)
    held.keys[:, :, [1, 4]] *= 60
    return held


def errors(made, held):
    keys, values = made.decode(*made.encode(held.keys, held.values, None))
    small = np.delete(np.abs(keys - held.keys), [1, 4], axis=2)
    return float(small.mean()), float(np.abs(values - held.values).mean())


def test_dial_zero_codes_nothing_and_the_others_eight_and_four_bits():
    assert Bfp(block=4).at(0.0, {}, SHAPE) is None
    assert [coder(dial).bits for dial in (0.25, 0.5, 0.75, 1.0)] == [8, 8, 4, 4]


def test_outliers_in_one_block_spoil_fewer_keys():
    held = outliers()
    sorted_keys, values = errors(coder(), held)
    as_they_are, same_values = errors(coder(rearrange=False), held)
    assert sorted_keys < 0.6 * as_they_are
    assert values == same_values


def test_an_order_of_channels_changes_nothing_where_all_are_in_one_block():
    held = outliers()
    assert errors(coder(block=SIZE), held) == errors(coder(block=SIZE, rearrange=False), held)


def test_more_bits_lose_less():
    held = drawn(50)
    assert errors(coder(0.5), held)[0] < 0.2 * errors(coder(1.0), held)[0]


def test_the_order_is_that_of_the_first_tokens_and_stays():
    made, held = coder(), outliers()
    first = made.encode(held.keys, held.values, None)
    again = made.encode(held.keys[:, ::-1], held.values, first.state)
    assert (again.state == first.state).all()
    assert first.state.shape == (HEADS, SIZE)
    assert {tuple(sorted(row[:2])) for row in first.state.tolist()} == {(1, 4)}


def test_tokens_are_coded_each_by_itself():
    made, held = coder(), drawn(20)
    state = made.encode(held.keys, held.values, None).state
    whole = made.encode(held.keys, held.values, state).parts
    parts = [
        made.encode(held.keys[:, part], held.values[:, part], state).parts
        for part in (slice(0, 7), slice(7, 20))
    ]
    for at_once, *pieces in zip(whole, *parts, strict=True):
        assert (at_once == np.concatenate(pieces)).all()


def test_a_block_that_does_not_divide_the_head_is_refused_in_words():
    with pytest.raises(MethodError, match="must divide the head size 8"):
        Bfp(block=3).at(0.5, {}, SHAPE)


@pytest.mark.parametrize("params", [{"block": 0}, {"value_bits": 5}, {"recent": 0}, {"every": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="bfp"):
        Bfp(**params)
