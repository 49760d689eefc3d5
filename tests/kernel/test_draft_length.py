"""The draft length that pays, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.draft_length import LengthTable, best_length, expected_tokens

TABLES = st.lists(st.floats(0.1, 5), min_size=9, max_size=9)
"""Seconds of a pass over 1..9 tokens, rising or not."""


def simulated_tokens(p: float, k: int, *, runs: int = 20_000) -> float:
    accepted = np.random.default_rng(5).random((runs, k)) < p
    return float(1 + np.cumprod(accepted, axis=1).sum(axis=1).mean())


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("k", [0, 1, 4, 7])
def test_expected_tokens_are_the_simulated_ones(p: float, k: int) -> None:
    assert expected_tokens(p, k) == pytest.approx(simulated_tokens(p, k), rel=0.03)


@given(st.floats(0, 1), st.integers(0, 8), TABLES)
def test_no_length_writes_more_tokens_a_second(p: float, limit: int, table: list[float]) -> None:
    def rate(k: int) -> float:
        return sum(p**i for i in range(k + 1)) / table[k]

    chosen = best_length(p, limit, lambda n: table[n - 1])
    assert 0 <= chosen <= limit
    assert rate(chosen) >= max(rate(k) for k in range(limit + 1)) * (1 - 1e-9)


@pytest.mark.parametrize("p", [0.2, 0.6, 0.9])
def test_the_choice_is_the_best_in_simulation(p: float) -> None:
    table = [1.0, 1.2, 1.4, 2.5, 1.7, 1.8, 3.5, 3.9, 4.0]
    simulated = [simulated_tokens(p, k) / table[k] for k in range(9)]
    chosen = best_length(p, 8, lambda n: table[n - 1])
    assert simulated[chosen] >= max(simulated) * 0.98


def test_certain_drafts_are_as_long_as_they_may_be_when_passes_cost_the_same() -> None:
    assert best_length(1.0, 6, lambda n: 1.0) == 6


def test_hopeless_drafts_are_not_made() -> None:
    assert best_length(0.0, 6, lambda n: 1.0 + 0.01 * n) == 0


def test_a_tie_goes_to_the_ordinary_step() -> None:
    assert best_length(1.0, 6, float) == 0


def test_a_cheap_place_behind_a_dear_one_is_found() -> None:
    table = {1: 1.0, 2: 3.0, 3: 3.0, 4: 1.1}
    assert best_length(0.5, 3, table.__getitem__) == 3


def test_no_room_is_no_draft() -> None:
    assert best_length(1.0, 0, lambda n: 1.0) == 0


@given(st.integers(0, 64), st.integers(0, 8), TABLES)
def test_a_length_table_repeats_the_best_length(level: int, limit: int, table: list[float]) -> None:
    lengths = LengthTable.up_to(8, lambda n: table[n - 1])
    expected = best_length(level / 64, limit, lambda n: table[n - 1])
    assert [lengths.best(level / 64, limit) for _ in range(2)] == [expected] * 2


def test_a_length_table_reads_each_cost_once() -> None:
    asked: list[int] = []
    lengths = LengthTable.up_to(3, lambda n: asked.append(n) or 1.0)
    assert [lengths.best(p, 3) for p in (0.2, 0.9, 0.9)] == [3, 3, 3]
    assert asked == [1, 2, 3, 4]
