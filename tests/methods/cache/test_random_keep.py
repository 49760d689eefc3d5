from __future__ import annotations

import numpy as np
import pytest
from toy_cache import HEADS, SHAPE, compacted, drawn, multiply, places

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import Border, Held
from rheostat.methods.cache.ems import Ems
from rheostat.methods.cache.random_keep import RandomKeep


def eviction(dial, **params):
    return RandomKeep(**params).at(dial, {}, SHAPE).eviction


def kept_at(dial, entries=200, **params):
    return places(compacted(eviction(dial, **params), drawn(entries)).held)


def test_as_many_stay_as_of_the_methods_that_it_controls():
    for tokens in (40, 300, 4096):
        assert eviction(0.6).entries(tokens) == Ems().at(0.6, {}, SHAPE).eviction.entries(tokens)


def test_sinks_and_newest_tokens_stay_and_the_rest_is_drawn_for_every_head():
    kept = kept_at(0.4, sinks=2, window=3)
    assert all(row[:2] == [0, 1] and row[-3:] == [197, 198, 199] for row in kept)
    assert all(row == sorted(set(row)) for row in kept)
    assert len({tuple(row) for row in kept}) == HEADS


def test_kept_sets_are_nested_by_the_dial():
    wide, narrow = kept_at(0.3), kept_at(0.5)
    assert all(set(few) < set(many) for few, many in zip(narrow, wide, strict=True))


def test_a_draw_is_reproducible_and_draws_differ():
    assert kept_at(0.5, draw=3) == kept_at(0.5, draw=3)
    assert len({str(kept_at(0.5, draw=draw)) for draw in range(4)}) == 4


def test_over_many_draws_every_token_stays_equally_often():
    counts = np.zeros(100)
    for draw in range(200):
        for row in kept_at(0.3, entries=100, sinks=0, window=1, every=1, draw=draw):
            counts[row] += 1
    assert abs(counts[:-1] / (200 * HEADS) - 0.69).max() < 0.1  # 5 standard deviations


def test_what_one_border_let_go_no_later_one_brings_back():
    made, more = eviction(0.5, every=20, sinks=1, window=2), drawn(120)
    first = compacted(made, Held(*(part[:, :100] for part in more)))
    pairs = zip(first.held, more, strict=True)
    joined = Held(*(np.concatenate([kept, new[:, 100:]], axis=1) for kept, new in pairs))
    second = made.compact(joined, Border(120, 0, first.state, multiply))
    whole = compacted(made, more)
    rows = zip(places(second.held), places(first.held), places(whole.held), strict=True)
    for row, before, at_once in rows:
        assert set(row) <= {*before, *range(100, 120)}
        assert len(set(row) & set(at_once)) > len(row) // 2  # a token keeps its lot


@pytest.mark.parametrize("params", [{"draw": -1}, {"window": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="random_keep"):
        RandomKeep(**params)
