"""Stopping heuristics: their formulas, and that votes for the leader only hasten them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rheostat.kernel.policies.agreement import Agreement
from rheostat.kernel.policies.stop_rules import (
    BetaPosterior,
    DirichletPosterior,
    Lead,
    LeadMargin,
    Overtaken,
    Share,
    overtaking,
    soonest,
)

RULES = [
    Overtaken(dial=0.3),
    LeadMargin(margin=3, dial=0.7),
    BetaPosterior(threshold=0.9),
    DirichletPosterior(chance=0.1),
    Share(dial=0.3, least=3),
    Agreement(alpha=0.1),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@given(data=st.data())
def test_another_vote_for_the_leader_never_makes_a_rule_go_on(rule, data):
    total = 10
    n = data.draw(st.integers(1, total - 2))
    x = data.draw(st.integers(1, n))
    y = data.draw(st.integers(0, min(x, n - x)))
    if rule.holds(Lead(x, y, n, total)):
        assert rule.holds(Lead(x + 1, y, n + 1, total))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_the_soonest_stop_is_the_first_that_holds(rule):
    lead = Lead(1, 0, 1, 10)
    steps = [m for m in range(1, 9) if rule.holds(Lead(1 + m, 0, 1 + m, 10))]
    assert soonest(rule, lead) == (steps[0] if steps else 9)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (4, 0), (5, 3), (3, 3)])
def test_the_beta_posterior_is_the_textbook_one(x, y):
    confidence = BetaPosterior(threshold=0.5).confidence(Lead(x, y, x + y, 20))
    assert confidence == pytest.approx(stats.beta(x + 1, y + 1).sf(0.5))


def test_the_beta_rule_stops_first_at_four_to_nothing():
    rule = BetaPosterior(threshold=0.95)
    assert [rule.holds(Lead(x, 0, x, 16)) for x in (3, 4)] == [False, True]


def test_the_predicted_overtaking_is_that_of_dirichlet_draws():
    lead = Lead(3, 1, 6, 9)
    counts = stats.dirichlet_multinomial([4, 2, 3], 3)
    expected = sum(
        counts.pmf([i, j, 3 - i - j]) for i in range(4) for j in range(4 - i) if 1 + j > 3 + i
    )
    assert overtaking(lead) == pytest.approx(expected)


def test_nothing_overtakes_a_lead_that_is_larger_than_the_rest():
    rule = Overtaken(dial=1e-9)
    assert rule.holds(Lead(6, 2, 13, 16))
    assert not rule.holds(Lead(6, 2, 12, 16))
    assert overtaking(Lead(6, 2, 11, 16)) > overtaking(Lead(6, 2, 12, 16)) == 0
