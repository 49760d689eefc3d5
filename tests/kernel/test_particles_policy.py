"""Weights of particles: their sizes, means and descendants."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rheostat.kernel.policies.particles import ancestors, effective_size, log_mean, normalised

LOGS = np.log([0.5, 0.25, 0.25, 1e-9])
DEAD = np.full(3, -np.inf)


def test_equal_weights_are_worth_their_number_and_one_heavy_one_is_worth_one():
    assert effective_size(np.full(8, -700.0)) == pytest.approx(8)
    assert effective_size(np.array([0.0, -np.inf, -np.inf])) == pytest.approx(1)
    assert effective_size(np.log([2.0, 1.0, 1.0])) == pytest.approx(16 / 6)


def test_weights_of_nothing():
    assert effective_size(DEAD) == 0
    assert log_mean(DEAD) == -math.inf


def test_means_survive_very_small_weights():
    assert math.exp(log_mean(LOGS)) == pytest.approx((1 + 1e-9) / 4)
    assert log_mean(LOGS - 2000) == pytest.approx(log_mean(LOGS) - 2000)


def test_weights_sum_to_one():
    assert normalised(LOGS - 900).sum() == pytest.approx(1)


def test_descendants_are_as_many_as_the_weight_says_up_to_rounding():
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = np.bincount(ancestors(np.log([0.5, 0.3, 0.2, 1e-12]), rng), minlength=4)
        assert counts.sum() == 4
        assert counts[0] == 2
        assert set(counts[1:3]) <= {0, 1, 2}


def test_descendants_are_unbiased():
    rng, weights = np.random.default_rng(1), np.array([0.05, 0.6, 0.25, 0.1])
    counts = sum(np.bincount(ancestors(np.log(weights), rng), minlength=4) for _ in range(4000))
    assert counts / counts.sum() == pytest.approx(weights, abs=0.01)


def test_a_dead_particle_has_no_descendants():
    found = ancestors(np.array([-np.inf, 0.0, -np.inf]), np.random.default_rng(2))
    assert found.tolist() == [1, 1, 1]
