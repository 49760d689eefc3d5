"""Void layers: the rule by hand, and what it cannot depend on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.voids import voids

LENGTHS = st.lists(st.lists(st.floats(0.1, 100), min_size=5, max_size=5), min_size=1, max_size=4)


def test_the_rule_by_hand():
    # changes: 4, 1, 3, -2; ranges before each: 0, 0, 3, 3
    lengths = np.array([[1.0, 5.0, 6.0, 9.0, 7.0]])
    assert voids(lengths, 0.5).tolist() == [[False, False, False, True]]
    assert voids(lengths, 1.0).tolist() == [[False, False, False, True]]
    assert voids(lengths, 1.1).tolist() == [[False, False, True, True]]


@given(LENGTHS, st.floats(0, 3), st.floats(0, 3))
def test_a_higher_alpha_finds_more_voids(lengths, one, other):
    low, high = sorted((one, other))
    few, many = voids(np.array(lengths), low), voids(np.array(lengths), high)
    assert (few <= many).all()


@given(LENGTHS)
def test_a_first_layer_that_grows_the_state_is_never_void(lengths):
    states = np.array(lengths)
    states[:, 1] = states[:, 0] + 1
    assert not voids(states, 0.8)[:, 0].any()


@given(LENGTHS, st.floats(0, 2))
def test_later_layers_change_no_verdict(lengths, alpha):
    states = np.array(lengths)
    assert (voids(states[:, :4], alpha) == voids(states, alpha)[:, :3]).all()
