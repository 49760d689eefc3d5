"""Bounds hold as often as they say, agree with their definitions, and refuse what they cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rheostat.errors import PlanError
from rheostat.kernel.certify.betting import (
    anytime_bets,
    betting_p_value,
    betting_upper,
    confidence_sequence,
    plug_in_bets,
    refuted_after,
)
from rheostat.kernel.certify.binomial import binomial_lower, binomial_p_value, binomial_upper
from rheostat.kernel.certify.bounds import BOUNDS
from rheostat.kernel.certify.fallback import STARTS, certified, frozen_path, shares
from rheostat.kernel.certify.hoeffding_bentkus import (
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper,
)
from rheostat.kernel.certify.losses import Range
from rheostat.kernel.certify.needed import least_items, needed_items

ALPHA = 0.05
UNIT = st.floats(0, 1)
LOSSES = hnp.arrays(np.float64, st.integers(1, 40), elements=UNIT)
LIMITS = st.floats(0.01, 0.99)


# binomial


@pytest.mark.parametrize(("failures", "items"), [(0, 1), (0, 60), (3, 50), (49, 50), (50, 50)])
def test_binomial_bounds_are_where_the_tail_is_alpha(failures, items):
    upper, lower = (f(failures, items, ALPHA) for f in (binomial_upper, binomial_lower))
    assert lower <= failures / items <= upper
    tail = sum(
        math.comb(items, k) * upper**k * (1 - upper) ** (items - k) for k in range(failures + 1)
    )
    assert tail == pytest.approx(1.0 if failures == items else ALPHA)
    tail = sum(
        math.comb(items, k) * lower**k * (1 - lower) ** (items - k)
        for k in range(failures, items + 1)
    )
    assert tail == pytest.approx(ALPHA if failures else 1.0)


def test_the_rule_of_three_for_no_failure():
    assert binomial_upper(0, 300, ALPHA) == pytest.approx(3 / 300, rel=0.01)


# every bound


@given(LOSSES, LIMITS)
def test_a_bound_is_where_its_test_begins_to_refute(losses, limit):
    for bound in BOUNDS.values():
        upper = bound.upper(losses, ALPHA)
        p = float(bound.p_value(losses, limit, ALPHA))
        assert 0 <= p <= 1
        if limit > upper + 1e-9:
            assert p <= ALPHA * (1 + 1e-6)
        if limit < upper - 1e-9:
            assert p >= ALPHA * (1 - 1e-6)


@given(LOSSES)
def test_an_upper_bound_is_over_the_mean_and_grows_with_confidence(losses):
    for bound in BOUNDS.values():
        bounds = [bound.upper(losses, alpha) for alpha in (0.2, 0.05, 0.01)]
        # betting knows the order of the losses, and makes its bets for one level
        if bound.name != "betting":
            assert losses.mean() <= bounds[0] + 1e-9
            assert bounds == sorted(bounds)


@given(LOSSES, LIMITS, st.integers(1, 5))
def test_many_samples_are_judged_as_each_alone(losses, limit, copies):
    for bound in BOUNDS.values():
        alone = float(bound.p_value(losses, limit, ALPHA))
        rows = bound.p_value(np.tile(losses, (copies, 1)), limit, ALPHA)
        assert rows == pytest.approx(np.full(copies, alone))


@given(LOSSES, LIMITS, UNIT, st.integers(0, 39))
def test_a_larger_loss_never_helps_but_through_the_bets(losses, limit, value, place):
    more = losses.copy()
    more[place % len(losses)] = max(value, more[place % len(losses)])
    for name in ("binomial", "hoeffding_bentkus"):
        p_value = BOUNDS[name].p_value
        assert p_value(more, limit, ALPHA) >= p_value(losses, limit, ALPHA) - 1e-12


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("items", [50, 500])
def test_a_bound_is_wrong_no_more_often_than_it_says(name, items):
    trials, mean = 2_000, 0.08
    rng = np.random.default_rng([items, len(name)])
    losses = (rng.random((trials, items)) < mean).astype(float)
    if name != "binomial":
        losses[:, ::2] = rng.beta(0.4, 0.4 * (1 - mean) / mean, losses[:, ::2].shape)
    wrong = float((BOUNDS[name].p_value(losses, mean, ALPHA) <= ALPHA).mean())
    assert wrong <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / trials)
    assert (BOUNDS[name].p_value(losses, 5 * mean, ALPHA) <= ALPHA).mean() > 0.9


# Hoeffding and Bentkus


@given(st.integers(1, 200), UNIT, LIMITS)
def test_hoeffding_bentkus_is_the_smaller_of_both(items, mean, limit):
    found = float(hoeffding_bentkus_p_value(mean, items, limit))
    low = min(mean, limit)
    kl = sum(a * math.log(a / b) for a, b in ((low, limit), (1 - low, 1 - limit)) if a > 0)
    bentkus = math.e * float(binomial_p_value(math.ceil(items * mean - 1e-9), items, limit))
    assert found == pytest.approx(min(math.exp(-items * kl), bentkus, 1.0), abs=1e-12)


def test_hoeffding_bentkus_of_no_loss_is_worse_than_the_binomial():
    assert hoeffding_bentkus_upper(0.0, 100, ALPHA) >= binomial_upper(0, 100, ALPHA) - 1e-9


# betting


@given(LOSSES, UNIT)
def test_a_bet_knows_earlier_losses_alone(losses, value):
    for bets in (lambda x: plug_in_bets(x, ALPHA), lambda x: anytime_bets(x, ALPHA)):
        changed = losses.copy()
        changed[-1] = value
        assert (bets(changed) == bets(losses)).all()


@given(LOSSES, LOSSES)
def test_a_sequence_never_widens(first, second):
    before = confidence_sequence(first, ALPHA)
    after = confidence_sequence(np.concatenate([first, second]), ALPHA)
    assert before.low - 1e-9 <= after.low
    assert after.high <= before.high + 1e-9


def test_capital_grows_as_the_product_of_its_bets():
    losses, limit = np.array([0.0, 0.2, 1.0, 0.0]), 0.3
    bets = np.minimum(plug_in_bets(losses, ALPHA), 0.75 / 0.7)
    capital = np.cumprod(1 - bets * (losses - limit))
    assert float(betting_p_value(losses, limit, ALPHA)) == pytest.approx(1 / capital.max())


@given(LOSSES, LIMITS, st.integers(1, 40))
def test_what_the_beginning_refutes_the_whole_refutes(losses, limit, length):
    whole = float(betting_p_value(losses, limit, ALPHA))
    beginning = betting_p_value(losses[:length], limit, ALPHA, items=len(losses))
    assert whole <= float(beginning)
    assert float(betting_p_value(losses, limit, ALPHA, items=len(losses))) == whole


@given(LOSSES, st.integers(1, 40))
def test_a_bound_from_the_beginning_is_never_under_the_wholes(losses, length):
    beginning = losses[: max(1, min(length, len(losses)))]
    part = betting_upper(beginning, 0.05, items=len(losses))
    assert part >= betting_upper(losses, 0.05) - 1e-9


@pytest.mark.parametrize("name", ["binomial", "hoeffding_bentkus"])
def test_bounds_of_a_whole_sample_take_no_beginning(name):
    assert not BOUNDS[name].early
    with pytest.raises(AssertionError, match="whole sample"):
        BOUNDS[name].p_value(np.zeros(5), 0.1, 0.05, items=9)


def test_a_sequence_holds_under_a_look_at_every_item_and_repeated_intervals_do_not():
    rng, trials, mean = np.random.default_rng(0), 300, 0.1
    losses = (rng.random((trials, 200)) < mean).astype(float)
    bounds = [confidence_sequence(row, ALPHA) for row in losses]
    wrong = np.mean([not low <= mean <= high for low, high in bounds])
    assert wrong <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / trials)
    looks = [
        [binomial_upper(int(row[:n].sum()), n, ALPHA / 2) for n in range(20, 201, 5)]
        for row in losses
    ]
    ever = np.mean([min(row) < mean for row in looks])
    assert ever > ALPHA  # exact for one look, wrong when looked at again and again


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=UNIT))
def test_a_sequence_is_refuted_at_the_first_look_that_lies_over_the_limit(losses):
    for row, when in zip(losses, refuted_after(losses, 0.2, ALPHA), strict=True):
        looks = [confidence_sequence(row[: n + 1], ALPHA).low > 0.2 for n in range(len(row))]
        assert when == (looks.index(True) + 1 if any(looks) else 0)


def test_betting_uses_a_small_variance():
    losses = np.full(400, 0.5) + np.random.default_rng(0).normal(0, 0.02, 400)
    assert betting_upper(losses, ALPHA) < 0.52
    assert hoeffding_bentkus_upper(float(losses.mean()), 400, ALPHA) > 0.55


# a path with several starts


def walked(p_values, prices, alpha=0.08):
    """Walk a path; return what was certified, and the levels that were held against."""
    levels = {}

    def p_value(at, level):
        levels[at] = pytest.approx(level)
        return p_values[at]

    return certified(range(len(prices)), lambda at: prices[at], p_value, alpha), levels


def test_a_certified_setting_hands_its_level_on_to_the_next_cheaper_one():
    passed, levels = walked([0.04, 0.06, 0.07, 0.0701, 0.08], [0.9, 0.8, 0.7, 0.6, 0.5])
    assert passed == [0, 1]
    assert levels == {0: 0.04, 1: 0.06, 2: 0.07, 3: 0.01}
    passed, levels = walked([0.0] * 5, [0.9, 0.8, 0.7, 0.6, 0.5])
    assert passed == [0, 1, 2, 3, 4]
    assert levels == {0: 0.04, 1: 0.06, 2: 0.07, 3: 0.08, 4: 0.08}


def test_a_setting_that_luck_put_first_does_not_end_the_path():
    passed, levels = walked([1.0, 0.02, 0.02], [0.7, 0.9, 0.8])
    assert passed == [1, 2]
    assert levels == {0: 0.05, 1: 0.02, 2: 0.03}


def test_what_is_no_cheaper_than_a_certified_setting_is_not_tested():
    passed, levels = walked([0.0, 0.0, 0.0], [0.7, 0.9, 0.7])
    assert passed == [0]
    assert set(levels) == {0}


def test_a_single_setting_has_the_whole_level():
    assert walked([0.08], [0.5]) == ([0], {0: 0.08})
    assert walked([], []) == ([], {})


@pytest.mark.parametrize("settings", range(1, 7))
def test_the_starts_share_one_alpha(settings):
    assert sum(shares(settings)) == pytest.approx(1)
    assert len(shares(settings)) == min(settings, len(STARTS))


def test_a_p_value_that_is_no_number_certifies_nothing():
    assert walked([math.nan, math.nan], [0.9, 0.8])[0] == []


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.2, 0.4, 0.6, 0.8])), max_size=9),
    st.data(),
)
def test_no_false_certificate_without_a_p_value_under_a_level_of_the_false_ones(settings, data):
    """Whatever the true ones do, the levels that the false ones are held to sum to alpha at most.

    That is the condition for the whole: the probability of any false certificate is at most the
    sum of the levels at which false ones are first tested, while none of them has passed.
    """
    spent = []

    def p_value(setting, level):
        if setting[0]:  # a false one, which is never certified here
            spent.append(level)
            return 1.0
        return data.draw(st.sampled_from([0.0, 1.0]))

    path = frozen_path(settings, loss=lambda _: 0.0, price=lambda s: s[1])
    certified(path, lambda s: s[1], p_value, ALPHA)
    assert sum(spent) <= ALPHA + 1e-12


@pytest.mark.parametrize("correlated", [False, True])
def test_settings_just_over_the_limit_are_certified_no_more_often_than_alpha(correlated):
    rng, wrong = np.random.default_rng(4), 0
    for _ in range(4_000):
        p = rng.random(6) if not correlated else np.full(6, rng.random())
        prices = rng.random(6)
        wrong += bool(certified(range(6), prices.__getitem__, lambda at, _, p=p: p[at], ALPHA))
    assert wrong / 4_000 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 4_000)


@given(st.lists(st.tuples(UNIT, UNIT), max_size=12), st.randoms())
def test_a_path_is_the_same_whatever_the_order_of_the_input(settings, random):
    path = frozen_path(settings, loss=lambda s: s[0], price=lambda s: s[1])
    assert path == sorted(path)
    assert path[: len(STARTS)] == sorted(settings)[: len(STARTS)]
    lows = [min(s[1] for s in path[: at + 1]) for at in range(len(path))]
    whole = sorted(settings)
    assert min((s[1] for s in whole), default=None) == (lows[-1] if lows else None)
    shuffled = random.sample(settings, len(settings))
    assert frozen_path(shuffled, loss=lambda s: s[0], price=lambda s: s[1]) == path


@given(st.lists(st.tuples(UNIT, UNIT), min_size=len(STARTS), max_size=12))
def test_a_useless_setting_behind_the_starts_changes_no_path(settings):
    def path(of):
        return frozen_path(of, loss=lambda s: s[0], price=lambda s: s[1])

    useless = (max(s[0] for s in settings) + 0.1, max(s[1] for s in settings) + 0.1)
    assert path([*settings, useless]) == path(settings)


# how many items


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("limit", [0.02, 0.05, 0.2])
def test_the_least_number_of_items_is_the_least(name, limit):
    bound = BOUNDS[name]
    n = least_items(bound, limit, ALPHA)
    p = [float(bound.p_value(np.zeros(k), limit, ALPHA)) for k in (n, n - 1)]
    assert p[0] <= ALPHA < p[1]


def test_the_least_number_for_the_binomial_is_known():
    assert least_items(BOUNDS["binomial"], 0.05, ALPHA) == 59
    assert least_items(BOUNDS["binomial"], 0.0, ALPHA) is None


def test_as_many_items_as_are_said_to_be_needed_do():
    losses = np.array([0.0] * 95 + [0.5] * 5)
    bound, limit = BOUNDS["betting"], 0.05
    n = needed_items(bound, losses, limit, ALPHA)
    fresh = np.random.default_rng(1).choice(losses, (400, n))
    assert (bound.p_value(fresh, limit, ALPHA) <= ALPHA).mean() > 0.8
    assert needed_items(bound, losses, 0.02, ALPHA) is None


# ranges


@pytest.mark.parametrize("losses", [[0.1, math.nan], [1.2], [-2.0, 0.0], [], [math.inf]])
def test_losses_outside_their_range_are_refused(losses):
    with pytest.raises(PlanError):
        Range(-1.0, 1.0).checked(losses)


@given(st.lists(st.floats(-1, 1), min_size=1), st.floats(-1, 1))
def test_scaling_there_and_back(losses, limit):
    kind = Range(-1.0, 1.0)
    unit = kind.to_unit(losses)
    assert ((unit >= 0) & (unit <= 1)).all()
    assert [kind.from_unit(x) for x in unit] == pytest.approx(losses, abs=1e-12)
    assert kind.from_unit(kind.limit_to_unit(limit)) == pytest.approx(limit, abs=1e-12)
