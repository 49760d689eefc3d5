from __future__ import annotations

import numpy as np

from rheostat.kernel.kv_cache import Held
from rheostat.kernel.policies.kv_merge import merged_entries, nearest

KEYS = np.array([[[2, 0], [0, 3], [1, 0.1], [-1, 0]]], np.float32)
VALUES = np.array([[[1, 0], [0, 1], [5, 5], [9, 9]]], np.float32)
CENTRES, OTHERS = np.array([[0, 1]]), np.array([[2, 3]])


def multiply(left, right):
    return left @ right.transpose(0, 2, 1)


def test_an_entry_joins_the_centre_of_the_most_similar_direction_or_none():
    assert nearest(KEYS, CENTRES, OTHERS, 0.6, multiply).tolist() == [[0, -1]]
    assert nearest(KEYS, CENTRES, OTHERS, -0.5, multiply).tolist() == [[0, 1]]
    assert nearest(KEYS, CENTRES, OTHERS, 1.0, multiply).tolist() == [[-1, -1]]
    assert nearest(KEYS, CENTRES, OTHERS[:, :0], 0.6, multiply).shape == (1, 0)


def test_values_are_averaged_by_score_and_counts_add_up():
    held = Held(KEYS, VALUES, np.array([[1, 2, 3, 4]], np.float32))
    scores = np.array([[3, 1, 1, 1]], np.float32)
    made = merged_entries(held, scores, CENTRES, OTHERS, np.array([[0, -1]]), keys=False)
    assert made.counts.tolist() == [[4, 2]]
    assert np.allclose(made.values, [[[2, 1.25], [0, 1]]])
    assert (made.keys == KEYS[:, :2]).all()


def test_merged_keys_point_between_and_keep_the_length():
    held = Held(KEYS, VALUES, np.ones((1, 4), np.float32))
    scores = np.ones((1, 4), np.float32)
    made = merged_entries(held, scores, CENTRES, OTHERS, np.array([[1, -1]]), keys=True)
    between = np.array([1, 0.1]) / np.hypot(1, 0.1) + np.array([0, 1])
    assert np.allclose(made.keys[0, 1], 3 * between / np.hypot(*between))
    assert (made.keys[0, 0] == KEYS[0, 0]).all()
