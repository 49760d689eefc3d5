"""Racing: rounds cover the items, and judgements are wrong no more often than they say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.racing import (
    LEVEL,
    rounds,
    surely_over,
    surely_worse,
)


@given(st.integers(1, 500), st.integers(1, 40))
def test_rounds_grow_to_all_items(items, first):
    ends = rounds(items, first)
    assert ends[-1] == items
    assert all(a < b <= 2 * a for a, b in pairwise(ends))


def test_rounds_double():
    assert rounds(20, 8) == [8, 16, 20]
    assert rounds(8, 8) == [8]


def test_a_large_loss_is_found_out_at_once():
    assert surely_over(np.full(8, 0.5), 0.05)
    assert not surely_over(np.full(8, 0.05), 0.05)
    assert not surely_over(np.ones(8), 1.0)
    assert surely_over(np.array([0.0, 0.01]), 0.0)
    assert not surely_over(np.zeros(8), 0.0)


def test_a_pair_is_told_apart_by_its_differences_not_by_its_spread():
    noise = np.random.default_rng(0).uniform(0, 0.6, 64)
    assert surely_worse(noise + 0.3, noise)
    assert not surely_worse(noise, noise)
    assert not surely_worse(noise, noise + 0.3)


@pytest.mark.parametrize("truth", [0.03, 0.3])
def test_settings_at_the_limit_leave_no_more_often_than_stated(truth):
    rng, trials = np.random.default_rng(1), 600
    losses = rng.binomial(20, truth, (trials, 128)) / 20
    wrong = sum(any(surely_over(row[:n], truth) for n in rounds(128, 8)) for row in losses)
    assert wrong <= trials * LEVEL + 3 * np.sqrt(trials * LEVEL)


def test_equal_settings_part_no_more_often_than_stated():
    rng, trials = np.random.default_rng(2), 600
    pairs = rng.beta(1, 9, (trials, 2, 128))
    wrong = sum(any(surely_worse(a[:n], b[:n]) for n in rounds(128, 8)) for a, b in pairs)
    assert wrong <= trials * LEVEL + 3 * np.sqrt(trials * LEVEL)
