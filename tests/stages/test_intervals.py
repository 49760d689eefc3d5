"""The bootstrap interval of a mean over items, and the standard error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.stages.intervals import mean_interval, standard_error

values = st.lists(st.floats(-1, 1), min_size=1, max_size=30)


@given(values)
def test_the_interval_holds_the_mean_of_most_resamples_and_stays_in_the_sample(sample):
    low, high = mean_interval(sample)
    assert min(sample) - 1e-9 <= low <= high <= max(sample) + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_mean(seed):
    sample = np.random.default_rng(seed).beta(1, 9, 40).tolist()
    low, high = mean_interval(sample)
    assert low < np.mean(sample) < high


@given(st.floats(-1, 1), st.integers(1, 20))
def test_a_constant_sample_gives_a_point(value, count):
    low, high = mean_interval([value] * count)
    assert low == pytest.approx(value)
    assert high == pytest.approx(value)


def test_the_same_seed_gives_the_same_interval():
    sample = [0.0, 0.1, 0.4, 0.2]
    assert mean_interval(sample, seed=3) == mean_interval(sample, seed=3)


def test_nineteen_in_twenty_intervals_hold_the_true_mean():
    draw = np.random.default_rng(1)
    truth, runs = 0.2, 400
    intervals = [mean_interval(draw.beta(2, 8, 40).tolist(), seed=i) for i in range(runs)]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert 0.90 <= covered / runs <= 0.98


def test_a_single_item_has_no_standard_error():
    assert standard_error([0.3]) == math.inf


def test_the_standard_error_falls_with_the_root_of_the_items():
    assert standard_error([0.0, 1.0] * 50) == pytest.approx(0.5 / math.sqrt(99))
