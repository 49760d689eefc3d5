"""A learnt share of hits: a mean with a prior at first, forgetting later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.acceptance import moved, outcomes_of

OUTCOMES = st.lists(st.booleans(), max_size=30)
TOKENS = st.lists(st.integers(0, 2), max_size=10)


@given(outcomes=OUTCOMES, prior=st.floats(0, 1), weight=st.integers(1, 5))
def test_a_small_rate_gives_the_mean_of_prior_and_outcomes(
    outcomes: list[bool], prior: float, weight: int
) -> None:
    mean = (prior * weight + sum(outcomes)) / (weight + len(outcomes))
    assert moved(prior, outcomes, weight=weight, rate=1e-9) == pytest.approx(mean)


@given(first=OUTCOMES, second=OUTCOMES, rate=st.floats(0.01, 1))
def test_outcomes_may_arrive_in_parts(first: list[bool], second: list[bool], rate: float) -> None:
    half = moved(0.5, first, weight=2, rate=rate)
    whole = moved(0.5, first + second, weight=2, rate=rate)
    assert moved(half, second, weight=2 + len(first), rate=rate) == whole
    assert 0.0 <= whole <= 1.0


def test_an_old_average_forgets_at_the_rate() -> None:
    assert moved(0.8, [False, True], weight=1000, rate=0.5) == pytest.approx(0.7)


@given(guessed=TOKENS, written=TOKENS)
def test_guesses_count_up_to_the_first_wrong_one(guessed: list[int], written: list[int]) -> None:
    outcomes = outcomes_of(guessed, written)
    hits = sum(outcomes)
    assert guessed[:hits] == written[:hits]
    assert False not in outcomes[:-1]
    pairs = min(len(guessed), len(written))
    assert len(outcomes) == min(hits + 1, pairs)
