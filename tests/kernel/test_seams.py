"""Layouts say which sub-layers exist."""

from __future__ import annotations

from rheostat.kernel.seams import Layout


def test_dropping_adds_to_what_is_dropped_already() -> None:
    layout = Layout.full(3).without(attention=[1]).without(attention=[2], mlp=[0])
    assert layout == Layout((True, False, False), (False, True, True))


def test_dropping_nothing_is_the_base() -> None:
    assert Layout.full(4).without() == Layout.full(4)
