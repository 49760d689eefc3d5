"""The contract of the `sample` seam: every method, found through the catalogue."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from contract.tiny_engine import DIALS, named
from rheostat import catalog
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.samples import Ended
from sample_worlds import World, draws

SAMPLE = named("sample")
OFFERS = frozenset(
    {"sample", "sample.temperature"}
    | {f"sample.{way}" for way in ("logprobs", "probe", "score", "compare", "pause")}
)
SHARES = [
    (0.9, 0.05, 0.05),
    (0.5, 0.3, 0.2),
    (0.45, 0.4, 0.15),
    (0.3, 0.2, 0.2, 0.1, 0.1, 0.1),
    (0.5, 0.5),
    (0.3, 0.3),
]
N = 12


def policy(name, dial):
    name, _, variant = name.partition("#")
    params = catalog.method(name).card.variants[int(variant or 0)]
    plan = Plan(model="tiny", methods=(Setting(name=name, dial=dial, params=params),))
    return catalog.installed(plan, None, OFFERS).sample


def worlds(**more):
    return [World(draws(p, N, seed=s), **more) for s in range(8) for p in SHARES]


def spent(name, dial, **more):
    return sum(
        world.run(policy(name, dial), seed=i).tokens for i, world in enumerate(worlds(**more))
    )


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("verifier", [False, True])
def test_dial_zero_draws_every_sample(name, verifier):
    for world in worlds(verifier=verifier):
        done = world.run(policy(name, 0.0))
        assert done.launched == N
        assert done.tokens == sum(sample.tokens for sample in done.samples)


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("verifier", [False, True])
def test_a_higher_dial_takes_no_more_tokens(name, verifier):
    tokens = [spent(name, dial, verifier=verifier) for dial in DIALS]
    assert all(after <= 1.01 * before for before, after in pairwise(tokens))
    assert tokens[-1] < tokens[0]


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("dial", [0.0, 0.05, 0.5, 1.0])
def test_the_order_of_completion_changes_nothing(name, dial):
    for seed, shares in enumerate(SHARES):
        samples = draws(shares, N, seed=seed)
        wrong_first = {i: (s.answer == "a", i) for i, s in enumerate(samples)}
        lots = np.random.default_rng(seed).permutation(N)
        orders = (None, wrong_first.__getitem__, lots.__getitem__)
        done = [World(samples, order=order).run(policy(name, dial)) for order in orders]
        assert len({world.finish for world in done}) == 1
        assert len({world.launched for world in done}) == 1


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("cap", [1, 3, N - 1])
def test_a_budgets_end_is_answered_and_promises_nothing(name, cap):
    for world in worlds(cap=cap):
        finish = world.run(policy(name, 0.0)).finish
        assert (finish.reason, finish.settled, finish.confidence) == ("budget", False, None)
        given = {s.answer for s in world.samples[:cap]} - {None}
        assert finish.answer in given if given else finish.answer is None


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0])
def test_lost_samples_and_silence_are_no_votes(name, dial):
    samples = draws((0.4, 0.2), N, seed=3)
    gone = frozenset(i for i, s in enumerate(samples) if s.answer == "a")
    finish = World(samples, lost=gone).run(policy(name, dial)).finish
    assert finish.answer in {"b", None}
    silent = [Ended(index=i, answer=None, tokens=4) for i in range(N)]
    finish = World(silent).run(policy(name, dial)).finish
    assert (finish.answer, finish.index) == (None, None)
    every = World(samples, lost=frozenset(range(N))).run(policy(name, dial)).finish
    assert every.answer is None


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("dial", [0.0, 1.0])
def test_missing_and_broken_signals_are_borne(name, dial):
    broken = [
        Ended(index=i, answer="ab"[i % 2], tokens=0, logprob=v, logprobs=None if i % 3 else (v,))
        for i, v in enumerate([float("nan"), -float("inf"), 0.0, 5.0] * 3)
    ]
    assert World(broken).run(policy(name, dial)).finish.answer in {"a", "b"}
    assert World(broken[:1]).run(policy(name, dial)).finish.answer == "a"


@pytest.mark.parametrize("name", SAMPLE)
def test_the_same_seed_gives_the_same_decisions(name):
    once, twice = ([w.run(policy(name, 0.5), seed=7) for w in worlds()] for _ in range(2))
    assert [w.actions for w in once] == [w.actions for w in twice]
