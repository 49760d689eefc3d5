"""Votes and their weights: majority, weighted majority, RPC, hedged pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rheostat.errors import MethodError
from rheostat.kernel.policies.path_weights import by_path, worth_keeping
from rheostat.kernel.policies.votes import Seen
from rheostat.kernel.samples import Compare, Ended
from rheostat.methods.sample.hedged import Hedged
from rheostat.methods.sample.majority import Majority
from rheostat.methods.sample.rpc import Rpc
from rheostat.methods.sample.weighted_majority import WeightedMajority
from sample_worlds import World, draws

ALIKE = {"logprob": -1.0, "logprobs": None}


def answer(method, samples, dial=0.0):
    return World(samples).run(method.at(dial, {}, None)).finish.answer


def paths(answers, **more):
    return [
        Ended(index=i, answer=a, tokens=9, text=f"{a} by way {i}", **more)
        for i, a in enumerate(answers)
    ]


@pytest.mark.parametrize(
    "method", [WeightedMajority(), Rpc(), Rpc(prune=False), Hedged()], ids=lambda m: m.card.name
)
def test_equal_probabilities_give_the_majority(method):
    for seed in range(20):
        samples = [
            replace(s, **ALIKE, text=str(i))
            for i, s in enumerate(draws((0.4, 0.3, 0.2), 12, seed=seed))
        ]
        assert answer(method, samples) == answer(Majority(), samples)


@pytest.mark.parametrize(("dial", "drawn"), [(0.0, 12), (0.5, 6), (0.96, 1), (1.0, 1)])
def test_the_dial_of_majority_is_a_share_of_the_samples(dial, drawn):
    assert World(draws((0.6, 0.4), 12)).run(Majority().at(dial, {}, None)).launched == drawn


def test_a_confident_minority_outweighs_a_doubtful_majority():
    samples = paths("aa", logprob=-3.0) + paths("b", logprob=-0.1)
    samples = [replace(s, index=i) for i, s in enumerate(samples)]
    assert answer(WeightedMajority(), samples) == "b"
    assert answer(WeightedMajority(sharpness=0.0), samples) == "a"
    with pytest.raises(MethodError, match="sharpness"):
        WeightedMajority(sharpness=-1.0)


def test_a_repeated_path_counts_once():
    samples = paths("ab", logprob=-0.5)
    again = [replace(samples[1], index=i) for i in (2, 3)]
    weights = by_path([Seen(outcome=s) for s in (*samples, *again)])
    assert weights[0] == weights[1] > 0
    assert weights[2:] == [0.0, 0.0]
    assert answer(Rpc(), [*samples, *again]) == "a"
    assert answer(Majority(), [*samples, *again]) == "b"


def test_improbable_paths_are_pruned_and_never_all_of_them():
    rng = np.random.default_rng(0)
    low, high = rng.uniform(0.02, 0.06, 10), rng.uniform(0.6, 0.7, 10)
    kept = worth_keeping(np.concatenate([low, high]))
    assert kept[10:].all()
    assert not kept[:10].any()
    for probabilities in (np.full(9, 0.5), np.ones(8), np.full(8, 1e-30), rng.random(30)):
        assert worth_keeping(probabilities).any()


def test_weights_do_not_depend_on_the_order_of_samples():
    samples = [Seen(outcome=s) for s in paths("abcabcabcab")]
    samples = [
        Seen(outcome=replace(s.outcome, logprob=-0.1 * (i + 1))) for i, s in enumerate(samples)
    ]
    order = np.random.default_rng(1).permutation(len(samples))
    straight, mixed = by_path(samples), by_path([samples[i] for i in order])
    assert mixed == pytest.approx([straight[i] for i in order])


def test_few_paths_are_not_pruned():
    samples = paths("aaaaaaa", logprob=-1.0)
    samples[0] = replace(samples[0], logprob=-9.0)
    assert all(weight > 0 for weight in by_path([Seen(outcome=s) for s in samples]))


def test_a_hedged_pool_holds_one_greedy_sample():
    world = World(draws((0.5, 0.3), 6)).run(Hedged().at(0.0, {}, None))
    assert world.temperatures == [0.0, *[None] * 5]
    votes = sum(s.answer is not None for s in world.samples)
    compared = [a for a in world.actions if isinstance(a, Compare)]
    assert len(set(compared)) == len(compared) == votes * (votes - 1) // 2
