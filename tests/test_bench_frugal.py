"""How frugal a run should be, on made-up questions: what is chosen, and what it spends in vain."""

from __future__ import annotations

import pytest

from rheostat.bench.solve_budget import taught
from rheostat.bench.solve_frugal import FRUGAL, GAIN, MARGIN, chosen, curve_on_halves, frugal_curve
from rheostat.kernel.policies import by_value
from test_bench_solve import question, suite


@pytest.fixture(autouse=True)
def few_questions_tell(monkeypatch):
    """Let a run be frugal after the few questions that there are here."""
    monkeypatch.setattr(by_value, "KNOWN", 3)


def of_two_kinds(count, *, seed=0):
    """Short names are easy, long ones are never solved; the text tells by its number."""
    easy = [question(f"{seed}{i:02d}", ("21", "12")[i % 2] * 8) for i in range(count)]
    hard = [question(f"{seed}{i:02d}".ljust(900), "2" * 16) for i in range(count)]
    return [one for pair in zip(easy, hard, strict=True) for one in pair]


def test_a_frugal_run_that_has_learnt_wastes_less_and_keeps_what_it_gains():
    curve = frugal_curve(
        of_two_kinds(12), taught(of_two_kinds(12, seed=1)), suite.first_success(), 2
    )
    assert [row["frugal"] for row in curve] == list(FRUGAL)
    wasted = [row["unsolvable_ratio"] for row in curve]
    assert wasted[-1] == 0 < wasted[0]
    assert wasted == sorted(wasted, reverse=True)
    assert {row["solved_gain"] for row in curve} == {0.0}  # both solve all that can be solved
    assert curve[-1]["tokens_ratio"] < curve[0]["tokens_ratio"]


def test_the_most_frugal_setting_that_gains_enough_is_chosen():
    rows = [(0.0, 0.2), (4.0, GAIN + MARGIN), (8.0, GAIN), (16.0, -0.1)]
    assert chosen([{"frugal": f, "solved_gain": g} for f, g in rows]) == 4.0
    assert chosen([{"frugal": 8.0, "solved_gain": 0.0}]) == 0.0


def test_halves_teach_each_other():
    curve = curve_on_halves(of_two_kinds(8), suite.first_success(), 2)
    assert len(curve) == len(FRUGAL)
    assert curve[-1]["unsolvable_ratio"] < curve[0]["unsolvable_ratio"]
