"""The promise of `agreement`: exact, for every distribution, whatever ended first."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest

from rheostat.bench.agreement_runs import counted, drawn, stopped
from rheostat.kernel.policies.agreement import Agreement, closed, evidence, stop_set
from rheostat.kernel.policies.agreement_counts import all_counts, counts_set, stops_at
from rheostat.kernel.policies.agreement_pairs import error_bound, error_seen, mesh, pair_error
from rheostat.kernel.policies.agreement_sets import SETS
from rheostat.kernel.policies.agreement_types import (
    by_counts,
    certified,
    type_error,
    type_errors,
    types,
)
from rheostat.kernel.policies.stop_rules import Lead


def exact_pair_error(stops, q, r, s):
    """The same probability by listing every sequence of a, b and others."""
    samples, total = len(stops) - 1, 0.0
    for sequence in product("abo", repeat=samples):
        x = y = 0
        hit = False
        for n, drawn_now in enumerate(sequence[:-1], 1):
            x, y = x + (drawn_now == "a"), y + (drawn_now == "b")
            rival = max(y, 1) if x < n else 0
            hit = hit or bool(x > y and stops[n, x, rival])
        ends = (sequence.count("a"), sequence.count("b"))
        first = next((d for d in sequence if d != "o"), "")
        beaten = ends[1] > ends[0] or (ends[0] == ends[1] and first == "b")
        total += hit * beaten * q ** ends[0] * r ** ends[1] * s ** (samples - sum(ends))
    return total


@pytest.mark.parametrize("point", [(0.5, 0.5, 0.0), (0.3, 0.4, 0.3), (0.2, 0.25, 0.6)])
def test_the_error_of_a_pair_is_that_of_all_sequences(point):
    scores = evidence(7)
    stops = closed(scores <= np.median(scores[np.isfinite(scores)]))
    found = pair_error(stops, np.array([point]))
    assert found[0] == pytest.approx(exact_pair_error(stops, *point))
    assert found[0] > 0


def test_the_mesh_has_no_gaps():
    rng = np.random.default_rng(0)
    cells = mesh()
    for q, r, s in rng.dirichlet((0.5, 0.5, 0.5), 300):
        above = (cells.corners.max(1) >= np.array([q, r, s]) - 1e-12).all(1)
        assert (above & (cells.least <= q)).any()


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.2])
def test_the_bound_holds_and_is_not_wasteful(alpha):
    stops = stop_set(10, alpha)
    assert error_seen(stops) <= error_bound(stops) <= alpha
    rng = np.random.default_rng(1)
    for _ in range(40):
        shares = rng.dirichlet(np.full(rng.integers(2, 6), 20.0)) * rng.choice([1.0, 0.8])
        counts = counted(drawn(shares, 2000, 10, rng))
        stop = stopped(Agreement(alpha=alpha), counts)
        wrong = (stop.answer != counts.majority).mean()
        assert wrong <= alpha + 3 * np.sqrt(alpha / 2000)


def test_a_larger_alpha_stops_no_later():
    sets = [stop_set(10, alpha) for alpha in (0.01, 0.05, 0.2)]
    counts = counted(drawn((0.4, 0.3, 0.2), 2000, 10, np.random.default_rng(2)))
    means = [stopped(Agreement(alpha=a), counts).samples.mean() for a in (0.01, 0.05, 0.2)]
    assert sets[0].sum() < sets[1].sum() < sets[2].sum()
    assert means[0] > means[1] > means[2]


def test_what_is_certain_is_certain_and_alpha_zero_never_stops():
    rule = Agreement(alpha=0.05)
    assert rule.holds(Lead(6, 1, 11, 16))
    assert rule.confidence(Lead(6, 0, 11, 16)) == 1.0
    assert rule.confidence(Lead(4, 0, 4, 16)) == 0.95
    assert not Agreement(alpha=0.0).holds(Lead(16, 0, 15, 16))


def test_a_sample_without_an_answer_counts_like_an_answer_of_its_own():
    rule = Agreement(alpha=0.2)
    states = [(x, n) for n in range(2, 10) for x in range(2, n)]
    assert [rule.holds(Lead(x, 0, n, 10)) for x, n in states] == [
        rule.holds(Lead(x, 1, n, 10)) for x, n in states
    ]


def test_beyond_the_tables_only_certainty_stops():
    certain = stop_set(70, 0.05)
    n, x, y = (axis[certain] for axis in np.indices(certain.shape))
    assert ((x - y > 70 - n) | ((y == 0) & (x >= 70 - n))).all()


# certificates by the types of samples


def random_order_error(kind, stops, runs=20000):
    """The error of a type by shuffling its samples."""
    rng = np.random.default_rng(0)
    answers = np.repeat(np.arange(len(kind)), kind)
    shuffled = rng.permuted(np.tile(answers, (runs, 1)), axis=1)
    counts = counted(shuffled)
    wrong = np.zeros(runs, bool)
    open_still = np.ones(runs, bool)
    for n in range(1, len(answers)):
        x, y = counts.first[:, n - 1], counts.second[:, n - 1]
        stop = open_still & (x > y) & stops[n, x, y]
        wrong |= stop & (counts.leader[:, n - 1] != counts.majority)
        open_still &= ~stop
    return wrong.mean()


@pytest.mark.parametrize("kind", [(5, 5), (4, 4, 2), (4, 3, 3), (4, 2, 2, 1, 1)])
def test_the_error_of_a_type_is_that_of_shuffled_samples(kind):
    scores = evidence(10)
    stops = closed(scores <= np.median(scores[np.isfinite(scores)]))
    assert type_error(kind, by_counts(stops)) == pytest.approx(
        random_order_error(kind, stops), abs=0.012
    )


def exact_error(errors, samples, shares):
    """The error of a rule on a distribution: the mean of its types' errors."""
    found = 0.0
    for kind, error in zip(types(samples), errors, strict=True):
        ways = math.factorial(samples) / math.prod(map(math.factorial, kind))
        named = set(permutations(kind + (0,) * (len(shares) - len(kind))))
        if len(kind) <= len(shares):
            powers = (math.prod(s**k for s, k in zip(shares, n, strict=True)) for n in named)
            found += error * ways * sum(powers)
    return found


def test_the_certificate_is_above_every_distribution_and_near_the_worst():
    errors = type_errors(by_counts(stop_set(8, 0.1)), 8)
    alpha = certified(errors, 8)
    worst = max(
        exact_error(errors, 8, shares)
        for shares in [(0.5, 0.5), (0.55, 0.45), (0.4, 0.3, 0.3), (1 / 3,) * 3, (0.25,) * 4]
    )
    assert worst <= alpha <= min(1.3 * worst, error_bound(stop_set(8, 0.1)))


# sets on the counts of all answers


@pytest.mark.parametrize(("samples", "alpha"), [(n, a) for n in SETS for a in SETS[n]])
def test_every_set_made_in_advance_keeps_its_promise(samples, alpha):
    stops = frozenset(kind for kind, wait in reached(samples, alpha).items() if wait == 0)
    assert stops_at(samples, alpha) <= stops
    assert 0.5 * alpha < certified(type_errors(stops, samples), samples) <= alpha


def reached(samples, alpha):
    """The waits at all counts before the last sample."""
    waits = counts_set(samples, alpha)
    return {kind: wait for kind, wait in waits.items() if 0 < sum(kind) < samples}


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_whole_counts_save_more_than_the_lead(alpha):
    rng = np.random.default_rng(3)
    for shares in ((0.6, 0.1, 0.1), (0.4, 0.3), (0.3, 0.2, 0.2, 0.1, 0.1)):
        counts = counted(drawn(shares, 4000, 16, rng))
        stop = stopped(Agreement(alpha=alpha), counts)
        leads = stop_set(16, alpha)[
            np.arange(1, 17).clip(max=15),
            counts.first,
            np.where(counts.first < np.arange(1, 17), counts.second.clip(min=1), 0),
        ]
        leads[:, -1] = True
        assert stop.samples.mean() < leads.argmax(1).mean() + 1  # the place of a stop, from 1
        wrong = (stop.answer != counts.majority).mean()
        assert wrong <= alpha + 3 * np.sqrt(alpha / 4000)


def test_a_wait_is_the_shortest_way_to_a_stop():
    waits = counts_set(8, 0.05)
    assert waits[3,] == 0 < waits[2,] == 1 < waits[2, 1]
    assert all(waits[kind] <= 8 - sum(kind) for kind in waits)
    assert all_counts(Lead(2, 1, 6, 8, (1,))) == (2, 1, 1, 1, 1)


def test_an_alpha_between_two_sets_uses_the_smaller_and_a_small_one_the_leads():
    assert counts_set(16, 0.07) is counts_set(16, 0.05)
    assert counts_set(16, 0.001) is None
    assert counts_set(10, 0.05) is None
