"""All threads or one: the faster way is found, kept, and left when times change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.all_or_one import FIRST, SHARE, TRIES, AllOrOne


def spent(choice, all_threads, one, pieces):
    """The seconds of so many pieces of work, and how many of them used all threads."""
    total, wide = 0.0, 0
    for _ in range(pieces):
        way = choice.all()
        seconds = all_threads if way else one
        choice.note(seconds)
        total, wide = total + seconds, wide + way
    return total, wide


@given(st.floats(1e-4, 10), st.floats(1e-4, 10))
def test_what_is_lost_to_trials_is_a_fixed_share(all_threads, one):
    pieces = 5000
    total, _ = spent(AllOrOne(), all_threads, one, pieces)
    best, worst = sorted((all_threads, one))
    start = 2 * TRIES * (worst - best)
    # A rest that is cut short costs a trial more; near ties a trial costs nearly nothing.
    assert total - start <= pieces * best * (1 + SHARE) + TRIES * (worst - best) + 1e-9


@pytest.mark.parametrize(("all_threads", "one", "wide"), [(1.0, 1.7, True), (9.0, 1.0, False)])
def test_the_faster_way_is_kept(all_threads, one, wide):
    choice = AllOrOne()
    spent(choice, all_threads, one, 4 * TRIES)
    _, used = spent(choice, all_threads, one, 1000)
    assert used > 900 if wide else used < 100


def test_a_core_that_another_program_takes_is_noticed_at_once():
    choice = AllOrOne()
    spent(choice, 1.0, 1.7, 500)
    _, wide = spent(choice, 30.0, 1.7, 500)
    assert wide <= FIRST


def test_a_core_that_comes_free_is_noticed():
    choice = AllOrOne()
    spent(choice, 3.0, 1.7, 500)
    _, wide = spent(choice, 1.0, 1.7, 500)
    assert wide > 300


def test_a_single_slow_piece_of_work_changes_nothing():
    choice = AllOrOne()
    spent(choice, 1.0, 1.7, 4 * TRIES)
    for _ in range(3):
        assert spent(choice, 1.0, 1.7, 1)[1] == 1
        choice.note(40.0)
    assert spent(choice, 1.0, 1.7, 1)[1] == 1
