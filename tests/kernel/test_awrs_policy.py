"""Constrained draws: the law of full masking, unbiased weights, few checks."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from rheostat.kernel.policies import awrs
from rheostat.kernel.policies.full_mask import drawn_of, likeliest_of, masked

LAW = np.array([0.35, 0.05, 0.2, 0.1, 0.25, 0.05])
VALID = np.array([False, True, True, False, False, True])
MASS = 0.3
LARGE = 49152


def rng(seed=0):
    return np.random.default_rng(seed)


def check_of(valid, asked=None):
    def check(token):
        if asked is not None:
            asked.append(token)
        return bool(valid[token])

    return check


class Ordered:
    """A source of chance that draws the tokens in a given order, some by keys where asked."""

    def __init__(self, law, order):
        self.law, self.order, self.draws = law, list(order), 0

    def random(self):
        """A number that falls on the next token of the order, again and again on the last."""
        token = self.order[min(self.draws, len(self.order) - 1)]
        self.draws += 1
        ends = self.law.cumsum()
        return (ends[token] - self.law[token] / 2) / ends[-1]

    def standard_exponential(self, size):
        assert size == len(self.law)
        times = np.empty(size)
        times[self.order] = np.arange(1, size + 1)
        return times * self.law


def chance_of(law, order):
    """The probability of an order drawn without replacement."""
    left, chance = 1.0, 1.0
    for token in order:
        chance *= law[token] / left
        left -= law[token]
    return chance


@pytest.fixture(params=[0, 2, 32])
def plain_draws(request, monkeypatch):
    """How many tokens are drawn one by one before all others are put in order by their keys."""
    monkeypatch.setattr(awrs, "_PLAIN_DRAWS", request.param)


@pytest.mark.usefixtures("plain_draws")
@pytest.mark.parametrize("block", [1, 2, 3, 5])
@pytest.mark.parametrize("valid", [[0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1] * 5])
def test_recursive_weights_are_unbiased_over_every_order(block, valid):
    law = np.array([0.4, 0.1, 0.25, 0.2, 0.05])
    masses = np.zeros(5)
    for order in permutations(range(5)):
        taken = awrs.recursive(law, check_of(valid), Ordered(law, order), block=block)
        masses[taken.token] += chance_of(law, order) * math.exp(taken.log_weight)
    assert masses == pytest.approx(law * valid, abs=1e-12)


@pytest.mark.usefixtures("plain_draws")
@pytest.mark.parametrize("valid", [[0, 1, 0, 1, 1], [0, 0, 1, 0, 0]])
def test_the_first_valid_token_has_the_masked_law(valid):
    law = np.array([0.4, 0.1, 0.25, 0.2, 0.05])
    chances = np.zeros(5)
    for order in permutations(range(5)):
        taken = awrs.improper(law, check_of(valid), Ordered(law, order))
        chances[taken.token] += chance_of(law, order)
    assert chances == pytest.approx(law * valid / (law * valid).sum(), abs=1e-12)


def test_a_hand_computed_recursive_weight():
    order = (0, 4, 2, 1, 3, 5)  # rejected 0.35 and 0.25, accepted 0.2, then one that is valid
    taken = awrs.recursive(LAW, check_of(VALID), Ordered(LAW, order))
    assert (taken.token, taken.checks) == (2, 4)
    assert math.exp(taken.log_weight) == pytest.approx(1 - 0.6)
    order = (0, 4, 2, 3, 1, 5)  # the same, then one that is not
    taken = awrs.recursive(LAW, check_of(VALID), Ordered(LAW, order))
    assert math.exp(taken.log_weight) == pytest.approx(0.2)


ESTIMATORS = {
    "recursive": awrs.recursive,
    "geometric": awrs.geometric,
    "geometric of 3": lambda *a: awrs.geometric(*a, max_accepts=3),
    "geometric of 4": lambda *a: awrs.geometric(*a, max_accepts=4),
}


def masses_of(estimator, law, valid, draws, seed=0):
    source, masses = rng(seed), np.zeros(len(law))
    check = check_of(valid)
    for _ in range(draws):
        taken = estimator(law, check, source)
        masses[taken.token] += math.exp(taken.log_weight)
    return masses / draws


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recursive", "geometric", "geometric of 3"])
@pytest.mark.parametrize("seed", [1, 2])
def test_weighted_masses_over_many_draws(name, seed):
    source = rng(seed)
    law, valid = source.dirichlet(np.ones(6)), source.permutation([0, 0, 0, 1, 1, 1])
    masses, mass = masses_of(ESTIMATORS[name], law, valid, 200_000), (law * valid).sum()
    assert masses.sum() == pytest.approx(mass, rel=0.01)
    assert np.abs(masses - law * valid).max() < 0.01 * mass


@pytest.mark.parametrize("name", ESTIMATORS)
def test_weighted_masses_over_a_few_thousand_draws(name):
    masses = masses_of(ESTIMATORS[name], LAW, VALID, 10_000)
    assert masses.sum() == pytest.approx(MASS, rel=0.05)
    assert masses == pytest.approx(LAW * VALID, abs=0.01)


@pytest.mark.parametrize("name", ESTIMATORS)
@given(
    valid=st.lists(st.booleans(), min_size=6, max_size=6),
    seed=st.integers(0, 999),
    scale=st.sampled_from([1.0, 1e-3, 1e-300]),
)
def test_never_an_invalid_token(name, valid, seed, scale):
    taken = ESTIMATORS[name](LAW * scale, check_of(valid), rng(seed))
    if any(valid):
        assert valid[taken.token]
        # unbiased, so a weight may exceed Z, but never the whole mass
        assert -math.inf < taken.log_weight <= math.log(scale) + 1e-9
    else:
        assert taken == (None, -math.inf, 6)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_where_everything_is_valid_the_weight_is_one(name):
    taken = ESTIMATORS[name](LAW, check_of(np.ones(6)), rng())
    assert taken.log_weight == pytest.approx(0.0, abs=1e-12)
    assert taken.checks <= (int(name[-1]) if name[-1].isdigit() else 2)


@pytest.mark.usefixtures("plain_draws")
def test_the_order_is_drawn_without_replacement():
    source, counts = rng(9), dict.fromkeys(permutations(range(3)), 0)
    law = np.array([0.6, 0.3, 0.1])
    for _ in range(3000):
        asked = []
        awrs.improper(law, check_of([0, 0, 0], asked), source)
        counts[tuple(asked)] += 1
    expected = [3000 * chance_of(law, order) for order in counts]
    assert chisquare(list(counts.values()), expected).pvalue > 0.001


def test_impossible_tokens_are_never_checked():
    asked = []
    law = np.array([0.0, 0.5, 0.0, 0.5])
    assert awrs.improper(law, check_of([1, 0, 1, 0], asked), rng()).token is None
    assert sorted(asked) == [1, 3]
    asked = []
    scores = np.array([-np.inf, 1.0, -np.inf, 2.0])
    assert awrs.likeliest(scores, check_of([1, 0, 1, 0], asked)).token is None
    assert asked == [3, 1]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_valid_token_of_almost_no_mass_is_found_and_weighed(name):
    law = np.array([1.0, 1e-18, 1e-300])
    taken = ESTIMATORS[name](law, check_of([0, 0, 1]), rng())
    assert taken.token == 2
    assert taken.log_weight <= math.log(1e-16)
    if name == "recursive":
        assert taken.log_weight == pytest.approx(math.log(1e-300))


def test_a_law_without_mass_has_no_token():
    for estimator in ESTIMATORS.values():
        assert estimator(np.zeros(3), check_of([1, 1, 1]), rng()).token is None
    assert awrs.improper(np.zeros(3), check_of([1, 1, 1]), rng()) == (None, 0.0, 0)


def test_a_denormal_probability_is_still_a_possible_token():
    law = np.array([1.0, 5e-324])
    assert awrs.improper(law, check_of([0, 1]), rng()).token == 1


@given(
    scores=st.lists(st.sampled_from([-np.inf, -3.0, 0.0, 0.5, 2.0]), min_size=1, max_size=60),
    data=st.data(),
    block=st.integers(1, 70),
)
def test_the_likeliest_valid_token_is_that_of_full_masking(scores, data, block):
    count = len(scores)
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    own = awrs.likeliest(np.array(scores), check_of(valid), block=block)
    assert own.token == likeliest_of(np.array(scores), valid, checks=0).token


def test_equal_scores_are_checked_once_each_by_rising_id():
    asked = []
    scores = np.repeat([0.0, 1.0], 300)
    assert awrs.likeliest(scores, check_of(np.zeros(600), asked)).token is None
    assert asked == [*range(300, 600), *range(300)]


@pytest.mark.parametrize("block", [6, 100])
def test_a_block_of_the_whole_vocabulary_is_full_masking(block):
    taken = awrs.recursive(LAW, check_of(VALID), rng(), block=block)
    assert taken.checks == 6
    assert math.exp(taken.log_weight) == pytest.approx(MASS)


def test_smaller_blocks_need_no_more_checks():
    law, valid = rng(3).dirichlet(np.ones(64)), rng(4).random(64) < 0.1
    means = [
        np.mean([awrs.improper(law, check_of(valid), rng(s), block=b).checks for s in range(100)])
        for b in (1, 2, 8, 64)
    ]
    assert means == sorted(means)
    assert means[-1] == 64


def large_case():
    """A law like a model's (Zipf) over as many tokens; a fifth of its mass is valid."""
    law = 1.0 / (np.arange(LARGE) + 2.0) ** 1.2
    law = rng(5).permutation(law / law.sum())
    valid = np.zeros(LARGE, dtype=bool)
    likely = np.argsort(-law)
    valid[likely[3:20:2]] = True
    valid[likely[200::50]] = True
    return law, valid


def test_a_large_vocabulary_keeps_the_masked_law_with_few_checks():
    law, valid = large_case()
    common = np.flatnonzero(valid & (law > 0.002))
    check, source, draws = check_of(valid), rng(6), 1500
    takens = [awrs.improper(law, check, source) for _ in range(draws)]
    assert all(valid[t.token] for t in takens)
    counts = np.array([sum(t.token == c for t in takens) for c in common])
    masked_law = np.where(valid, law, 0.0) / law[valid].sum()
    expected = draws * masked_law[common]
    rest = [draws - counts.sum()], [draws - expected.sum()]
    assert chisquare([*counts, *rest[0]], [*expected, *rest[1]]).pvalue > 0.001
    mean_checks = np.mean([t.checks for t in takens])
    assert mean_checks < 1.2 / law[valid].sum()
    assert mean_checks < LARGE / 1000


def test_the_mask_of_a_large_vocabulary_gives_the_same_likeliest_token():
    law, valid = large_case()
    own = awrs.likeliest(law, check_of(valid))
    whole = likeliest_of(law, masked(law > 0, check_of(valid)), checks=LARGE)
    assert own.token == whole.token
    assert own.checks == 4


def test_full_masking_draws_the_restricted_law_with_its_mass():
    takens = [drawn_of(LAW, VALID, rng(s), checks=6) for s in range(300)]
    assert {t.token for t in takens} == {1, 2, 5}
    assert takens[0].log_weight == pytest.approx(math.log(MASS))
    assert drawn_of(LAW, np.zeros(6, dtype=bool), rng(), checks=6) == (None, -math.inf, 6)
