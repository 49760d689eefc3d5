"""Guesses and the ways that leave them are followed through written tokens and scored once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.run_lengths import RunLengths
from rheostat.kernel.policies.trails import Trails, Way

TEXT = st.lists(st.integers(0, 1), min_size=1, max_size=12)


def curve() -> RunLengths:
    return RunLengths.prior(0.5, 0.8, longest=4, weight=1)


def scored(held: int, of: int) -> RunLengths:
    runs = curve()
    runs.score(held, of)
    return runs


def test_a_guess_that_breaks_is_scored_where_it_breaks_and_a_way_from_there_on() -> None:
    trails, guess, way, late = Trails(), curve(), curve(), curve()
    trails.follow([1, 2, 3], guess, [Way(1, [7, 8], way), Way(2, [9], late)])
    trails.read([1, 7])
    assert guess == scored(1, 3)
    assert way == curve(), "it goes on"
    trails.read([8])
    assert way == scored(2, 2)
    assert late == curve(), "the guess never came so far"


def test_a_way_is_wrong_where_the_guess_was_right() -> None:
    trails, guess, way = Trails(), curve(), curve()
    trails.follow([1, 2], guess, [Way(0, [7, 8], way)])
    trails.read([1, 2])
    assert (guess, way) == (scored(2, 2), scored(0, 2))


@given(TEXT, TEXT, st.integers(1, 4))
def test_a_guess_is_scored_once_however_the_text_arrives(
    guess: list[int], text: list[int], size: int
) -> None:
    found = []
    for step in (size, len(text)):
        trails, runs = Trails(), curve()
        trails.follow(guess, runs, ())
        for at in range(0, len(text), step):
            trails.read(text[at : at + step])
        found.append(runs)
    assert found[0] == found[1]


def test_one_guess_is_followed_at_a_time() -> None:
    trails, first, second = Trails(), curve(), curve()
    trails.follow([1, 1], first, ())
    trails.follow([2, 2], second, ())
    trails.read([1, 1, 2, 2])
    assert (first, second) == (scored(2, 2), curve())


def test_the_curve_of_a_way_is_its_share_among_all_arrivals_at_its_place() -> None:
    draw, runs, guess = random.Random(1), curve(), curve()
    arrived = taken = 0
    for _ in range(40):
        trails = Trails()
        trails.follow([1, 2], guess, [Way(1, [7], runs)])
        text = [1 if draw.random() < 0.8 else 0, 7 if draw.random() < 0.5 else 2]
        trails.read(text)
        arrived += text[0] == 1
        taken += text == [1, 7]
    assert runs.survival[0] == pytest.approx((0.5 + taken) / (1 + arrived), abs=0.1)
