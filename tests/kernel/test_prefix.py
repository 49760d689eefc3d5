"""Outcomes are put back into launch order, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.prefix import Prefix


@given(st.permutations(range(7)))
def test_any_order_of_completion_gives_the_same_prefix(order):
    prefix = Prefix()
    for index in order:
        prefix = prefix.plus(index, f"s{index}")
    assert prefix == Prefix(ready=tuple(f"s{i}" for i in range(7)))


def test_what_ended_behind_a_gap_waits():
    prefix = Prefix().plus(0, "a").plus(2, "c")
    assert (prefix.ready, dict(prefix.waiting)) == (("a",), {2: "c"})
    assert prefix.plus(1, "b").ready == ("a", "b", "c")


def test_an_outcome_told_twice_changes_nothing():
    prefix = Prefix().plus(0, "a").plus(2, "c")
    assert prefix.plus(0, "x") == prefix.plus(2, "x") == prefix
