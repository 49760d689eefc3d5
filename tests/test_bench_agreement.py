"""The benchmark suite `agreement`: one set of draws for all rules, a strict verdict."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the envelope of results names the versions of torch")

from rheostat.bench import agreement
from rheostat.bench.agreement_runs import adaptive, completed, counted, drawn, raced, stopped
from rheostat.bench.its_hub_peer import its_hub_rules
from rheostat.kernel.policies.stop_rules import LeadMargin
from rheostat.kernel.samples import Ended


def test_a_cell_judges_every_rule_on_the_same_draws():
    cell = agreement.agreement_cell("even", (0.5, 0.5), 8, runs=400)
    rules = cell["rules"]
    assert set(agreement.OURS) < set(rules)
    assert rules["overtaken"]["disagree"] == 0
    assert rules["agreement"]["samples"] < rules["overtaken"]["samples"] < 8
    assert rules["random"]["samples"] == pytest.approx(rules["agreement"]["samples"], abs=0.3)
    assert cell["orders_agree"]
    json.dumps(cell, allow_nan=False)


def test_the_search_judges_the_worst_on_fresh_draws(monkeypatch):
    monkeypatch.setattr(agreement, "SEARCH_RUNS", 100)
    cell = agreement.worst_cell(8, searched=6, runs=200)
    assert "worst of 6" in cell["distribution"]
    assert sum(cell["shares"]) <= 1 + 1e-9


def test_counts_follow_the_prefix_and_ties_the_launch():
    counts = counted(np.array([[1, 0, 0, 1]]))
    assert counts.leader.tolist() == [[1, 1, 0, 1]]
    assert (counts.first[0].tolist(), counts.second[0].tolist()) == ([1, 1, 2, 2], [0, 1, 1, 2])
    stop = stopped(LeadMargin(margin=1, dial=1.0), counts)
    assert (stop.samples.tolist(), stop.answer.tolist()) == ([1], [1])


def test_wrong_answers_that_are_faster_come_first():
    rng = np.random.default_rng(0)
    answers = drawn((0.5, 0.5), 50, 6, rng)
    ended = completed(answers, "wrong first", rng)
    assert all(run == sorted(run, reverse=True) for run in ended.tolist())
    assert (np.sort(ended) == np.sort(answers)).all()


def test_the_peers_rules_are_those_described():
    two_alike = counted(np.array([[3, 3, 1, 1, 1, 1, 1, 1]]))
    assert adaptive(two_alike).samples.tolist() == [2]
    assert adaptive(two_alike).answer.tolist() == [3]
    four = counted(np.array([[2, 2, 2, 2, 0, 0, 0, 0]]))
    assert raced(four).samples.tolist() == [4]


def test_the_peers_rules_stop_where_the_package_does():
    pytest.importorskip("its_hub", reason="the peer's package is not installed")
    rng = np.random.default_rng(3)
    answers = drawn((0.75, 0.15, 0.1), 25, 16, rng)
    lengths = np.array([rng.permutation(16) + 1 for _ in answers])
    batches = adaptive(counted(answers))
    race = raced(counted(np.take_along_axis(answers, np.argsort(lengths, axis=1), axis=1)))
    rules = its_hub_rules()
    for i, (run, ends) in enumerate(zip(answers.tolist(), lengths.tolist(), strict=True)):
        ended = [
            Ended(index=j, answer=str(answer), tokens=n)
            for j, (answer, n) in enumerate(zip(run, ends, strict=True))
        ]
        own = rules["its-hub adaptive"](ended, "")
        assert own.samples == batches.samples[i]
        if own.samples < 16:  # at the end it breaks ties by lot
            assert own.answer == str(batches.answer[i])
        if race.samples[i] < 16:
            assert rules["its-hub beta"](ended, "").answer == str(race.answer[i])
    assert (batches.samples < 16).sum() > 5
    assert (race.samples < 16).sum() > 5


def cell(*, disagree=0.03, samples=10.0, certain=12.0, lot=0.1, alike=True):
    return {
        "rules": {
            "agreement": {"disagree": disagree, "samples": samples, "standard_error": 0.002},
            "overtaken": {"samples": certain},
            "random": {"disagree": lot},
        },
        "orders_agree": alike,
    }


@pytest.mark.parametrize(
    ("cells", "beats"),
    [
        ([cell(), cell(disagree=0.053)], True),
        ([cell(), cell(disagree=0.055)], False),
        ([cell(samples=12.5)], False),
        ([cell(lot=0.02)], False),
        ([cell(alike=False)], False),
        ([], False),
    ],
)
def test_the_promise_must_hold_in_every_cell(cells, beats):
    assert agreement.agreement_verdict(cells)["beats_controls"] is beats
