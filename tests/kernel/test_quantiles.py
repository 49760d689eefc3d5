"""The pooled threshold against samples that are known in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.quantiles import threshold

RISING = st.lists(st.floats(-1, 1), min_size=2, max_size=9).map(sorted)
SHARES = st.floats(0.001, 0.999)


def test_no_share_is_over_no_finite_threshold() -> None:
    assert threshold([[0.0, 1.0]], 0.0) == math.inf


def test_two_uniform_samples_have_the_threshold_by_hand() -> None:
    assert threshold([[0.0, 1.0], [1.0, 1.5, 2.0]], 0.25) == pytest.approx(1.5)


@given(samples=st.lists(RISING, min_size=1, max_size=4), share=SHARES)
def test_at_most_the_share_lies_over_the_threshold(
    samples: list[list[float]], share: float
) -> None:
    found = threshold(samples, share)
    below = [np.interp(found, row, np.linspace(0, 1, len(row))) for row in samples]
    assert 1.0 - np.mean(below) <= share + 1e-9


@given(samples=st.lists(RISING, min_size=1, max_size=4), shares=st.tuples(SHARES, SHARES))
def test_a_larger_share_never_raises_the_threshold(
    samples: list[list[float]], shares: tuple[float, float]
) -> None:
    small, large = sorted(shares)
    assert threshold(samples, large) <= threshold(samples, small)
