from __future__ import annotations

import numpy as np
import pytest
from toy_cache import SHAPE, attention, compacted, drawn, places

from rheostat.errors import MethodError
from rheostat.methods.cache.snapkv import SnapKv, pooled


def eviction(dial, **params):
    return SnapKv(**params).at(dial, {}, SHAPE).eviction


def test_what_the_newest_tokens_look_at_stays_and_its_neighbours_with_it():
    weights = np.full((3, 4, 100), 1e-4, np.float32)
    for head, looked_at in enumerate((20, 40, 60)):
        weights[head, :, looked_at] = 0.9
    made = eviction(0.875, sinks=1, window=4, pool=3, every=4)
    kept = places(compacted(made, drawn(100), weights=weights).held)
    for row, looked_at in zip(kept, (20, 40, 60), strict=True):
        assert {looked_at - 1, looked_at, looked_at + 1} <= set(row)
        assert row[0] == 0
        assert row[-4:] == [96, 97, 98, 99]


def test_only_the_newest_tokens_are_asked_for():
    assert eviction(0.5, window=16).newest == 16


def test_a_pool_is_the_mean_of_what_there_is_on_both_sides():
    scores = attention(9)[:, -1]
    for size in (1, 3, 5):
        side = size // 2
        wanted = [[row[max(i - side, 0) : i + side + 1].mean() for i in range(9)] for row in scores]
        assert np.allclose(pooled(scores, size), wanted, atol=1e-6)


@pytest.mark.parametrize("params", [{"pool": 2}, {"pool": -1}, {"every": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="snapkv"):
        SnapKv(**params)
