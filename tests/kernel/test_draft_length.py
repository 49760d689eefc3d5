"""The draft length that pays, against brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.draft_length import best_length

TABLES = st.lists(st.floats(0.1, 5), min_size=9, max_size=9)
"""Seconds of a pass over 1..9 tokens, rising or not."""
SURVIVALS = st.lists(st.floats(0, 1), min_size=8, max_size=8).map(lambda s: sorted(s, reverse=True))


@given(SURVIVALS, st.integers(0, 8), TABLES)
def test_no_length_writes_more_tokens_a_second(
    survival: list[float], limit: int, table: list[float]
) -> None:
    def rate(k: int) -> float:
        return (1 + sum(survival[:k])) / table[k]

    chosen, best = best_length(survival, limit, table)
    assert 0 <= chosen <= limit
    assert best == pytest.approx(rate(chosen))
    assert rate(chosen) >= max(rate(k) for k in range(limit + 1)) * (1 - 1e-9)


def mixed_runs(seed: int, runs: int = 20_000) -> np.ndarray:
    """Copies that break at once or hold for long: what copied text looks like."""
    draw = np.random.default_rng(seed)
    good = draw.random(runs) < 0.3
    return np.where(good, draw.geometric(0.05, runs), 0)


def test_the_choice_is_the_best_in_simulation() -> None:
    table = [1.0, 1.6, 1.6, 1.8, 1.9, 1.9, 2.0, 2.1, 2.2]
    runs = mixed_runs(1)
    survival = [float((runs >= k).mean()) for k in range(1, 9)]
    other = mixed_runs(2)
    simulated = [float((1 + np.minimum(other, k)).mean()) / table[k] for k in range(9)]
    chosen, _ = best_length(survival, 8, table)
    assert simulated[chosen] >= max(simulated) * 0.99
    mean = survival[0]  # as a constant acceptance the same copies would never be drafted
    assert best_length([mean**k for k in range(1, 9)], 8, table)[0] == 0 < chosen


def test_certain_drafts_are_as_long_as_they_may_be_when_passes_cost_the_same() -> None:
    assert best_length([1.0] * 6, 6, [1.0] * 7)[0] == 6


def test_hopeless_drafts_are_not_made() -> None:
    assert best_length([0.0] * 6, 6, [1.0 + 0.01 * n for n in range(7)])[0] == 0


def test_a_tie_goes_to_the_ordinary_step() -> None:
    assert best_length([1.0] * 6, 6, [float(n) for n in range(1, 8)])[0] == 0


def test_a_cheap_place_behind_a_dear_one_is_found() -> None:
    assert best_length([0.5, 0.25, 0.125], 3, [1.0, 3.0, 3.0, 1.1])[0] == 3


@pytest.mark.parametrize("limit", [0])
def test_no_room_is_no_draft(limit: int) -> None:
    assert best_length([], limit, [1.0])[0] == 0


@given(SURVIVALS, TABLES, st.floats(0, 6))
def test_no_pass_costs_more_than_is_affordable(
    survival: list[float], table: list[float], affordable: float
) -> None:
    chosen, _ = best_length(survival, 8, table, affordable)
    assert chosen == 0 or table[chosen] <= affordable
