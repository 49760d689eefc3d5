"""How far guesses hold: the mean of a prior and what was seen, and a change is noticed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.run_lengths import RunLengths

RUNS = st.lists(st.integers(0, 30), max_size=40)


def curve(longest: int = 24) -> RunLengths:
    return RunLengths.prior(0.6, 0.9, longest=longest, weight=2)


def test_a_steady_text_gives_the_mean_of_prior_and_runs() -> None:
    draw = random.Random(1)
    runs = [draw.choice([8, 12, 14, 30]) for _ in range(40)]
    learnt, prior = curve(), curve()
    for held in runs:
        learnt.score(held)
    for k in range(1, 25):
        mean = (2 * prior.survival[k - 1] + sum(r >= k for r in runs)) / (2 + len(runs))
        assert learnt.survival[k - 1] == pytest.approx(mean)


@given(RUNS)
def test_the_curve_falls_and_stays_a_probability(runs: list[int]) -> None:
    learnt = curve()
    for held in runs:
        learnt.score(held)
    assert all(-1e-12 <= s <= 1 + 1e-12 for s in learnt.survival)
    assert all(a >= b - 1e-12 for a, b in zip(learnt.survival, learnt.survival[1:], strict=False))


@pytest.mark.parametrize(("before", "after"), [(24, 0), (0, 24), (20, 4), (24, 8)])
@pytest.mark.parametrize("steady", [20, 500])
def test_a_change_is_followed_within_some_guesses_however_long_the_past(
    before: int, after: int, steady: int
) -> None:
    learnt = curve()
    for _ in range(steady):
        learnt.score(before)
    for _ in range(15):
        learnt.score(after)
    assert sum(learnt.survival) == pytest.approx(after, abs=0.2 * abs(before - after))


@given(held=st.integers(0, 24), longest=st.integers(1, 24))
def test_nothing_is_learnt_behind_the_end_of_a_guess(held: int, longest: int) -> None:
    learnt, before = curve(), curve().survival
    learnt.score(min(held, longest), longest)
    behind = list(zip(before, learnt.survival, strict=True))[longest:]
    assert all(a == min(b, learnt.survival[longest - 1]) for b, a in behind)


def test_no_longest_length_is_no_curve() -> None:
    learnt = curve(longest=0)
    learnt.score(0)
    assert learnt.survival == []
