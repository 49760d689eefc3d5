"""Signals against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats
from scipy.spatial import distance

from rheostat.kernel.signals import copy_rate, cosine, entropy, log_softmax, margin

LOGITS = arrays(np.float64, (3, 5), elements=st.floats(-50, 50))
ALL_BUT_ONE_IMPOSSIBLE = np.array([0.0, -np.inf, -np.inf])


@given(LOGITS)
def test_log_softmax_is_scipys(logits: np.ndarray) -> None:
    np.testing.assert_allclose(log_softmax(logits), special.log_softmax(logits, axis=-1))


@given(LOGITS)
def test_entropy_is_scipys(logits: np.ndarray) -> None:
    expected = stats.entropy(special.softmax(logits, axis=-1), axis=-1)
    np.testing.assert_allclose(entropy(logits), expected, atol=1e-9)


def test_entropy_runs_from_certain_to_uniform() -> None:
    assert entropy(ALL_BUT_ONE_IMPOSSIBLE) == 0.0
    assert entropy(np.zeros(7)) == pytest.approx(np.log(7))


def test_margin_is_the_gap_of_the_two_largest() -> None:
    logits = np.array([[3.0, 9.0, 7.5], [2.0, 2.0, 1.0]])
    np.testing.assert_array_equal(margin(logits), [1.5, 0.0])
    assert margin(ALL_BUT_ONE_IMPOSSIBLE) == np.inf


@given(LOGITS, LOGITS)
def test_cosine_is_scipys(a: np.ndarray, b: np.ndarray) -> None:
    a, b = np.round(a, 3), np.round(b, 3)
    both = (np.abs(a).sum(-1) > 0) & (np.abs(b).sum(-1) > 0)
    found = cosine(a, b)
    assert (found[~both] == 0).all()
    expected = [1 - distance.cosine(x, y) for x, y in zip(a[both], b[both], strict=True)]
    np.testing.assert_allclose(found[both], expected, atol=1e-9)


def test_cosine_of_single_vectors() -> None:
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(0.96)


@pytest.mark.parametrize(
    ("prompt", "output", "rate"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], 2 / 5),  # known after 1 2 3: then 4 and 5 follow
        ([1, 2, 3, 4, 9, 1, 2, 3], [4, 9], 1.0),
        ([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], [4], 0.0),  # the most recent occurrence decides
        ([], [7, 7, 7, 7, 7], 1 / 5),  # the output's own past counts
        ([1, 2], [3], 0.0),
        ([1, 2, 3], [], 0.0),
    ],
)
def test_copy_rate_by_hand(prompt: list[int], output: list[int], rate: float) -> None:
    assert copy_rate(prompt, output) == pytest.approx(rate)
