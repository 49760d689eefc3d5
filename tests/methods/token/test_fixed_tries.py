"""The control: plain tries with replacement, then the whole mask."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.errors import MethodError
from rheostat.methods.token.fixed_tries import FixedTries, TriesChoice

LAW = np.array([0.5, 0.2, 0.2, 0.1, 0.0])
VALID = (False, False, True, True, True)


def check(token):
    return VALID[token]


def test_the_law_is_that_of_full_masking():
    rng = np.random.default_rng(0)
    for tries in (0, 2, 50):
        tokens = [TriesChoice(tries=tries).drawn(LAW, check, rng).token for _ in range(3000)]
        assert set(tokens) == {2, 3}
        assert tokens.count(2) / 3000 == pytest.approx(2 / 3, abs=0.03)


def test_after_the_tries_every_possible_token_is_checked():
    never = TriesChoice(tries=3).drawn(LAW, lambda token: False, np.random.default_rng(0))
    assert (never.token, never.checks) == (None, 3 + 4)
    assert TriesChoice(tries=2).likeliest(LAW, check) == (2, 0.0, 2 + 5)
    assert TriesChoice(tries=3).likeliest(LAW, check) == (2, 0.0, 3)


def test_weights_are_the_whole_mass():
    taken = TriesChoice(tries=3).weighted(LAW, check, np.random.default_rng(0))
    assert np.exp(taken.log_weight) == pytest.approx(0.3)


def test_dial_zero_has_no_tries():
    assert [FixedTries().at(d, {}, None).tries for d in (0, 0.5, 1)] == [0, 8, 16]
    with pytest.raises(MethodError, match="at least 1"):
        FixedTries(tries=0)
