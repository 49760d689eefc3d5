"""DeepPrune: with a judge that is right the winner and the distinct answers stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rheostat.errors import MethodError
from rheostat.kernel.samples import Cancel, Compare
from rheostat.methods.sample.deepprune import DeepPrune
from rheostat.methods.sample.majority import Majority
from sample_worlds import World, draws

SHARES = [(0.5, 0.3, 0.2), (0.3, 0.3, 0.4)]
SAMPLES = [draws(p, 12, seed=s, tokens=30) for s in range(10) for p in SHARES]


def run(samples, dial=0.5, **params):
    return World(samples).run(DeepPrune(**params).at(dial, {}, None))


def winner(samples):
    return World(samples).run(Majority().at(0.0, {}, None))


@pytest.mark.parametrize("samples", SAMPLES)
def test_a_judge_that_is_right_keeps_the_winner_at_fewer_tokens(samples):
    pruned, whole = run(samples), winner(samples)
    assert pruned.finish.answer == whole.finish.answer
    assert pruned.tokens < 0.8 * whole.tokens
    gone = {i for a in pruned.actions if isinstance(a, Cancel) for i in a.indices}
    kept = {s.answer for s in samples if s.index not in gone}
    assert kept == {s.answer for s in samples}


def test_comparisons_are_with_representatives_alone():
    world = run(SAMPLES[0])
    clusters = len({s.answer for s in SAMPLES[0]})
    assert sum(isinstance(a, Compare) for a in world.actions) <= 12 * clusters


def test_a_judge_that_is_right_makes_the_order_of_samples_irrelevant():
    for samples in SAMPLES[:6]:
        counts = sorted(([s.answer for s in samples].count(a) for a in "abc"), reverse=True)
        if counts[0] == counts[1]:
            continue  # a tie goes to the earliest
        order = np.random.default_rng(0).permutation(len(samples))
        mixed = [replace(samples[j], index=i) for i, j in enumerate(order)]
        assert run(mixed).finish.answer == run(samples).finish.answer


@pytest.mark.parametrize("samples", SAMPLES[:6])
def test_samples_that_ended_before_the_length_take_no_cluster_from_others(samples):
    mixed = [replace(s, tokens=5) if s.index < 6 else s for s in samples]
    pruned = run(mixed, most=3)
    assert pruned.finish.answer == winner(mixed).finish.answer
    gone = {i for a in pruned.actions if isinstance(a, Cancel) for i in a.indices}
    assert {s.answer for s in mixed if s.index not in gone} == {s.answer for s in mixed}


def test_the_number_of_clusters_is_capped():
    samples = draws((0.2,) * 5, 12, seed=1, tokens=30)
    gone = [a for a in run(samples, most=1).actions if isinstance(a, Cancel)]
    assert sum(len(a.indices) for a in gone) >= 11
    with pytest.raises(MethodError, match="most"):
        DeepPrune(most=0)
