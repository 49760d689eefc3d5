"""AWRS: the dial goes from full masking to one check at a time, and beats plain tries."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.catalog import method
from rheostat.errors import MethodError
from rheostat.kernel.method import with_params
from rheostat.kernel.model_cost import ModelShape

SHAPE = ModelShape(
    layers=1, width=1, heads=1, kv_heads=1, head_size=1, inner=1, vocabulary=1000, context=64
)
LAW = np.random.default_rng(0).dirichlet(np.full(1000, 0.05))
VALID = np.random.default_rng(1).random(1000) < 0.3


def choice(dial, name="awrs", **params):
    return with_params(method(name), params).at(dial, {}, SHAPE)


def check(token):
    return bool(VALID[token])


def checks(made, draws=200):
    rng = np.random.default_rng(2)
    return np.mean([made.drawn(LAW, check, rng).checks for _ in range(draws)])


def test_the_dial_goes_from_the_whole_vocabulary_to_single_tokens():
    assert [choice(d).block for d in (0, 1 / 3, 2 / 3, 1)] == [1000, 100, 10, 1]


def test_a_higher_dial_needs_fewer_checks():
    means = [checks(choice(d)) for d in (0, 0.25, 0.5, 0.75, 1)]
    assert means == sorted(means, reverse=True)
    assert means[0] == np.count_nonzero(LAW)
    assert means[-1] < 1 / LAW[VALID].sum() + 1


def test_it_needs_fewer_checks_than_plain_tries():
    for tries in (1, 4, 16, 64):
        assert checks(choice(1)) < checks(choice(1, "fixed_tries", tries=tries))


@pytest.mark.parametrize("estimator", ["recursive", "geometric", "auto"])
def test_the_estimators_agree_on_the_valid_mass(estimator):
    made, rng = choice(1, estimator=estimator), np.random.default_rng(3)
    weights = [np.exp(made.weighted(LAW, check, rng).log_weight) for _ in range(3000)]
    assert np.mean(weights) == pytest.approx(LAW[VALID].sum(), rel=0.06)


def test_weights_are_steady_where_little_is_valid():
    law, valid = np.full(1000, 1e-3), np.arange(1000) < 20

    def spread(**params):
        made, rng = choice(1, **params), np.random.default_rng(4)
        takens = [made.weighted(law, lambda token: bool(valid[token]), rng) for _ in range(800)]
        weights = np.exp([taken.log_weight for taken in takens])
        assert weights.mean() == pytest.approx(0.02, rel=0.7)
        return weights.std() / 0.02

    assert spread() < 2 < 4 < spread(max_accepts=2)


def test_a_peaked_law_is_weighed_with_a_single_check():
    law, rng = np.array([0.99, 0.004, 0.006]), np.random.default_rng(0)
    found = [choice(1).weighted(law, lambda token: True, rng).checks for _ in range(200)]
    assert np.mean(found) < 1.1
    alone = [choice(1, estimator="recursive").weighted(law, lambda t: True, rng).checks]
    assert alone == [2]


@pytest.mark.parametrize("params", [{"estimator": "mean"}, {"max_accepts": 1}])
def test_bad_parameters_are_refused(params):
    with pytest.raises(MethodError, match="awrs"):
        choice(1, **params)
