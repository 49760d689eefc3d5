"""How far guesses hold: the mean of a prior and what was seen, forgetting later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.run_lengths import CopyGuess, RunLengths

RUNS = st.lists(st.integers(0, 6), max_size=30)
TEXTS = st.lists(st.integers(0, 2), min_size=2, max_size=30)


def curve(rate: float = 1e-9) -> RunLengths:
    return RunLengths.prior(0.6, 0.9, longest=5, weight=2, rate=rate)


@given(RUNS)
def test_a_small_rate_gives_the_mean_of_prior_and_runs(runs: list[int]) -> None:
    learnt, prior = curve(), curve()
    for held in runs:
        learnt.score(held)
    for k in range(1, 6):
        mean = (2 * prior.survival[k - 1] + sum(r >= k for r in runs)) / (2 + len(runs))
        assert learnt.survival[k - 1] == pytest.approx(mean)


@given(runs=RUNS, rate=st.floats(0.01, 1))
def test_the_curve_falls_and_stays_a_probability(runs: list[int], rate: float) -> None:
    learnt = curve(rate)
    for held in runs:
        learnt.score(held)
    assert all(0 <= s <= 1 for s in learnt.survival)
    assert learnt.survival == sorted(learnt.survival, reverse=True)


def test_an_old_curve_forgets_at_the_rate() -> None:
    learnt = RunLengths(survival=[0.8, 0.4], seen=1000, rate=0.5)
    learnt.score(1)
    learnt.score(0)
    assert learnt.survival == pytest.approx([0.45, 0.1])


@given(text=TEXTS, parts=st.lists(st.integers(1, 5), max_size=10), data=st.data())
def test_a_guess_is_settled_by_its_first_wrong_token_however_the_text_arrives(
    text: list[int], parts: list[int], data: st.DataObject
) -> None:
    at = data.draw(st.integers(1, len(text) - 1))
    source = data.draw(st.integers(0, at - 1))
    longest = 6
    guess = CopyGuess(source=source, at=at)
    size, settled = at, False
    for part in [*parts, len(text)]:
        if settled:
            break
        size = min(size + part, len(text))
        settled = guess.settled(text[:size], longest)
    agreeing = 0
    while at + agreeing < len(text) and text[source + agreeing] == text[at + agreeing]:
        agreeing += 1
    assert guess.held == min(agreeing, longest)
    assert settled == (agreeing >= longest or at + agreeing < len(text))
