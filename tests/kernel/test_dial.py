"""Dials are numbers from 0 to 1."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.errors import MethodError
from rheostat.kernel.dial import checked_dial, steps

DIALS = st.floats(0, 1)


@given(DIALS)
def test_a_dial_in_range_is_kept(value: float) -> None:
    assert checked_dial(value, method="m") == value


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True])
def test_anything_else_is_refused_with_the_method_named(value: float) -> None:
    with pytest.raises(MethodError, match="the dial of `m` must be a number from 0 to 1"):
        checked_dial(value, method="m")


@given(DIALS, DIALS, st.integers(0, 100))
def test_steps_rise_with_the_dial_from_none_to_all(a: float, b: float, most: int) -> None:
    low, high = sorted((a, b))
    assert 0 <= steps(low, most) <= steps(high, most) <= most
    assert (steps(0.0, most), steps(1.0, most)) == (0, most)


def test_halves_round_up() -> None:
    assert [steps(0.5, most) for most in (1, 3, 5)] == [1, 2, 3]
