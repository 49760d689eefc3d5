"""`Cost` adds up field by field."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.errors import BudgetError
from rheostat.kernel.cost import Cost, checked, total

COUNTS = st.integers(0, 10**12)
COSTS = st.builds(
    Cost,
    flops=COUNTS,
    bytes=COUNTS,
    prompt_tokens=COUNTS,
    new_tokens=COUNTS,
    calls=COUNTS,
    price=st.integers(0, 2**20).map(float),
    seconds=st.integers(0, 2**20).map(float),
    usd=st.integers(0, 2**20).map(float),
    estimated=st.booleans(),
)


@given(COSTS, COSTS, COSTS)
def test_the_sum_does_not_depend_on_the_order(a: Cost, b: Cost, c: Cost) -> None:
    assert total([a, b, c]) == total([c, a, b]) == a + (b + c)


@given(COSTS)
def test_the_empty_sum_changes_nothing(a: Cost) -> None:
    assert total([]) + a == a


@given(COSTS)
def test_json_gives_the_cost_back(a: Cost) -> None:
    assert Cost.from_json(a.to_json()) == a


@given(COSTS, COSTS)
def test_what_is_left_and_what_was_spent_make_at_least_the_bound(a: Cost, b: Cost) -> None:
    again = b + a.left_after(b)
    for name in ("flops", "prompt_tokens", "new_tokens", "calls", "price", "usd"):
        assert getattr(again, name) == max(getattr(a, name), getattr(b, name))


def test_estimated_is_contagious() -> None:
    assert (Cost(estimated=True) + Cost()).estimated
    assert not (Cost() + Cost()).estimated


def test_tokens_are_read_and_written_ones() -> None:
    assert Cost(prompt_tokens=3, new_tokens=4).tokens == 7


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="joules"):
        Cost.from_json({"joules": 1})


@pytest.mark.parametrize("bad", [Cost(calls=-1), Cost(seconds=math.nan), Cost(usd=math.inf)])
def test_a_cost_is_finite_and_not_negative(bad: Cost) -> None:
    with pytest.raises(BudgetError, match="must be 0 or more"):
        checked(bad)


def test_a_possible_cost_is_returned() -> None:
    assert checked(Cost(flops=1)) == Cost(flops=1)
