"""When a draft has enough tokens: the paper's threshold, the look-ahead, and both in simulation."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.draft_stop import (
    LookAhead,
    Outlook,
    StopRule,
    Threshold,
    corrected,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST = 12
LINEAR = [1.0] + [1.0 + 0.3 * k + 0.02 * k for k in range(1, MOST + 1)]
"""An exit that costs 0.3 of a step a token, verified almost for nothing."""
JUMPY = [1.0, 1.5, 1.9, 2.7, 2.9, 3.2, 3.5, 3.8, 4.1, 4.4, 4.7, 5.0, 5.3]
SCORES = st.lists(st.floats(0.01, 0.99), min_size=MOST, max_size=MOST)


def outlook(drafted: int, scores: Sequence[float], seconds: Sequence[float] = LINEAR) -> Outlook:
    return Outlook(drafted=drafted, most=MOST, scores=scores, seconds=seconds)


def length(rule: StopRule, scores: Sequence[float], seconds: Sequence[float] = LINEAR) -> int:
    """How many tokens are drawn when the head says these scores, one after the other."""
    drafted = 1
    while drafted < MOST and rule.goes_on(outlook(drafted, scores[: drafted - 1], seconds)):
        drafted += 1
    return drafted


@given(scores=SCORES, least=st.integers(2, 6))
def test_a_threshold_of_zero_gives_the_least_length_and_one_the_most(
    scores: list[float], least: int
) -> None:
    assert length(Threshold(threshold=0.0, least=least), scores) == least
    assert length(Threshold(threshold=1.0, least=least), scores) == MOST


@given(scores=SCORES, thresholds=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_threshold_never_drafts_less(
    scores: list[float], thresholds: tuple[float, float]
) -> None:
    low, high = (length(Threshold(threshold=h), scores) for h in sorted(thresholds))
    assert low <= high


def test_the_threshold_bounds_the_chance_that_some_token_is_refused() -> None:
    rule = Threshold(threshold=0.5, least=1)
    assert rule.goes_on(outlook(1, []))
    assert rule.goes_on(outlook(3, [0.9, 0.6]))  # 1 - 0.54
    assert not rule.goes_on(outlook(3, [0.8, 0.6]))  # 1 - 0.48


def test_the_look_ahead_compares_with_every_longer_draft() -> None:
    # two: 2.71 / 2.5 = 1.08; three: 3.44 / 3.4 = 1.01; four: 4.10 / 3.5 = 1.17
    seconds = [1.0, 1.5, 2.5, 3.4, 3.5]
    assert LookAhead().goes_on(Outlook(drafted=2, most=4, scores=[0.9], seconds=seconds))
    assert not LookAhead().goes_on(Outlook(drafted=2, most=3, scores=[0.9], seconds=seconds[:4]))


def test_the_look_ahead_stops_behind_a_token_that_will_be_refused() -> None:
    assert LookAhead().goes_on(outlook(1, []))
    assert LookAhead().goes_on(outlook(3, [0.95, 0.95]))
    assert not LookAhead().goes_on(outlook(3, [0.95, 0.05]))


@given(accepted=st.floats(0.01, 0.99), weight=st.floats(1, 10))
def test_the_weight_of_refusals_is_taken_out_of_a_score(accepted: float, weight: float) -> None:
    score = accepted / (accepted + weight * (1 - accepted))
    assert corrected(score, weight) == pytest.approx(accepted)


Text = list[float]
"""The probability that the draft's token is accepted, at every place."""


def mixed(seed: int, easy: float, hard: float, tokens: int = 20_000) -> Text:
    """Runs of easy and of hard places, some tokens each."""
    draw = random.Random(seed)
    text: Text = []
    while len(text) < tokens:
        chance = draw.choice((easy, hard))
        text += [chance] * draw.randint(3, 12)
    return text


def rate(
    text: Text,
    seconds: Sequence[float],
    drafts: Callable[[int, Callable[[int], float]], int],
    seed: int = 1,
) -> float:
    """Tokens a second when `drafts(place, score of a place)` says how many are drafted."""
    draw = random.Random(seed)
    place, time = 0, 0.0
    while place < len(text) - MOST - 1:
        k = drafts(place, lambda i: text[i])
        held = next((i for i in range(k) if draw.random() >= text[place + i]), k)
        time += seconds[k]
        place += held + 1
    return place / time


def best_fixed(text: Text, seconds: Sequence[float]) -> float:
    return max(rate(text, seconds, lambda place, score, k=k: k) for k in range(11))  # type: ignore[misc]


def ruled(text: Text, seconds: Sequence[float], rule: StopRule) -> float:
    def drafts(place: int, score: Callable[[int], float]) -> int:
        drafted, scores = 1, []
        while drafted < MOST:
            now = Outlook(drafted=drafted, most=MOST, scores=scores, seconds=seconds)
            if not rule.goes_on(now):
                break
            scores.append(score(place + drafted - 1))
            drafted += 1
        return drafted

    return rate(text, seconds, drafts)


@pytest.mark.parametrize("seconds", [LINEAR, JUMPY])
@pytest.mark.parametrize(("easy", "hard"), [(0.97, 0.5), (0.98, 0.3)])
def test_looking_ahead_beats_the_best_fixed_length_where_difficulty_varies(
    seconds: list[float], easy: float, hard: float
) -> None:
    text = mixed(3, easy, hard)
    assert ruled(text, seconds, LookAhead()) > 1.03 * best_fixed(text, seconds)


@pytest.mark.parametrize("seconds", [LINEAR, JUMPY])
def test_looking_ahead_is_near_the_best_fixed_length_where_scores_say_nothing(
    seconds: list[float],
) -> None:
    text = [0.8] * 20_000
    assert ruled(text, seconds, LookAhead()) > 0.97 * best_fixed(text, seconds)


@pytest.mark.parametrize("seconds", [LINEAR, JUMPY])
def test_looking_ahead_beats_the_threshold_of_the_paper(seconds: list[float]) -> None:
    text = mixed(4, 0.97, 0.4)
    ahead = ruled(text, seconds, LookAhead())
    assert ahead > ruled(text, seconds, Threshold(threshold=0.7))
