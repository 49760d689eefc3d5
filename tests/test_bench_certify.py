"""The benchmark suite `certify`: worlds of known truth, the walk along a path, a strict verdict."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="the envelope of results names the versions of torch")

from rheostat.bench import certify
from rheostat.bench.certify_trials import (
    BASE,
    Task,
    chosen_by_certificate,
    chosen_by_mean,
    p_values,
    paths,
    violated,
)
from rheostat.bench.certify_worlds import LAWS, SLOTS, VALUES, Drawn, Recorded
from rheostat.kernel.certify.bounds import BOUNDS
from rheostat.kernel.certify.fallback import certified, frozen_path

TRIALS = 1_000
TABLE = np.random.default_rng(0).beta(0.1, 1.5, (40, 6)) * np.linspace(0.5, 1.5, 6)


def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("excess", [0.01, 0.05, 0.2, 0.44])
def test_a_law_has_the_mean_that_was_asked_for(law, excess):
    mean = certify.to_unit(law, excess)
    made = LAWS[law](mean)
    assert made.sum() == pytest.approx(1)
    assert made.min() >= 0
    assert made @ VALUES == pytest.approx(mean, abs=1e-9)


def test_drawn_losses_have_the_means_that_were_drawn():
    sampled = Drawn.of(np.stack([LAWS["shares"](m) for m in (0.1, 0.3)])).sample(50, 20, rng())
    of_one_item(sampled, settings=(0, 1))


def of_one_item(sampled, *, settings):
    """What bounds look at is the same whether it is asked for as losses or as sums."""
    trials = np.array([3, 7, 29])
    for setting in settings:
        rows = sampled.losses(setting, trials)
        assert rows.mean(axis=1) == pytest.approx(sampled.means[trials, setting])
        assert (rows > 0).sum(axis=1).tolist() == sampled.failures[trials, setting].tolist()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("excess", [0.05 + certify.OVER, 0.2, 0.44])
def test_what_is_drawn_from_has_the_mean_or_a_hair_more(law, excess):
    mean = certify.to_unit(law, excess)
    world = Drawn.of(LAWS[law](mean)[None])
    assert -1e-9 <= world.truths[0] - mean < 2 / SLOTS
    drawn = world.sample(40, 500, rng()).means
    assert drawn.mean() == pytest.approx(mean, abs=4 * drawn.std() / math.sqrt(40))


def test_recorded_losses_are_whole_items():
    sampled = Recorded(TABLE).sample(30, 10, rng())
    both = np.stack([sampled.losses(j, np.arange(30)) for j in (1, 4)], axis=-1)
    pairs = {tuple(row) for row in TABLE[:, [1, 4]]}
    assert {tuple(row) for row in both.reshape(-1, 2)} <= pairs
    of_one_item(sampled, settings=(1, 4))


def test_trials_together_are_the_rule_that_plans_use():
    task = Task(world=Recorded(TABLE), limit=0.12, alpha=0.05)
    drawn = rng()
    searched = task.world.sample(60, task.searched, drawn).means
    path = paths(task, 60, rng())
    sampled = task.world.sample(60, 80, rng())
    chosen = chosen_by_certificate(task, BOUNDS["betting"], path, sampled)
    lengths = set()
    for trial in range(60):
        own = frozen_path(range(6), loss=lambda s, t=trial: searched[t, s], price=lambda s: -s)
        assert [setting for setting in path[trial].tolist() if setting in own] == own

        def p_value(setting, level, trial=trial):
            at, held = np.array([trial]), np.array([level])
            return float(p_values(task, BOUNDS["betting"], sampled, setting, at, held)[0])

        passed = certified(own, lambda setting: -setting, p_value, task.alpha)
        assert chosen[trial] == (passed[-1] if passed else BASE)
        lengths.add(len(passed))
    assert len(lengths) > 1


@pytest.mark.parametrize("name", BOUNDS)
def test_p_values_of_trials_together_decide_as_the_bound_alone(name):
    task = certify.drawn("0/1" if name == "binomial" else "shares", 0.2, [0.1, 0.2])
    sampled = task.world.sample(200, 60, rng())
    every = np.arange(200)
    own = p_values(task, BOUNDS[name], sampled, 0, every, np.full(200, task.alpha))
    alone = BOUNDS[name].p_value(sampled.losses(0, every), task.limit, task.alpha)
    assert ((own <= task.alpha) == (alone <= task.alpha)).all()
    assert 0 < (own <= task.alpha).sum() < 200


def test_trials_in_parts_are_as_many_as_were_asked_for(monkeypatch):
    monkeypatch.setattr(certify, "HELD", 70 * 2 * 50)
    at = {"losses": "0/1", "limit": 0.2, "methods": 2, "items": 50}
    chosen = certify.chosen_by_rule(certify.drawn("0/1", 0.2, [0.01, 0.6]), at, trials=100)
    assert {len(own) for own in chosen.values()} == {100}


@pytest.mark.parametrize("methods", [1, 5, 50])
@pytest.mark.parametrize(("losses", "limit"), [("0/1", 0.05), ("shares", 0.2), ("nats", 0.2)])
def test_certificates_hold_and_the_best_on_the_calibration_set_does_not(losses, limit, methods):
    for world, truths in certify.truths_of(losses, limit, methods).items():
        task = certify.drawn(losses, limit, truths)
        at = {"losses": losses, "limit": limit, "methods": methods, "items": 200}
        rules = certify.validity_cell(task, at, trials=TRIALS)["rules"]
        naive = rules.pop(certify.NAIVE)
        for rule in rules.values():
            assert rule["violated"] <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / TRIALS)
        if world == "just over":
            assert naive["violated"] > 0.3


def test_recorded_losses_are_certified_with_a_limit_just_under_one_of_them():
    cells = [
        certify.validity_cell(task, at, trials=500)
        for task, at in certify.tasks(TABLE)
        if at["losses"] == "recorded" and at["items"] == 200
    ]
    assert cells
    for cell in cells:
        for name in certify.SUITABLE["recorded"]:
            assert cell["rules"][name]["violated"] <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 500)
    json.dumps(cells, allow_nan=False)


def test_a_quarter_of_the_limit_is_certified_in_nine_of_ten_trials():
    found = [certify.power_cell(task, at, trials=200) for task, at in certify.power_tasks(TABLE)]
    assert {cell["useless"] for cell in found} == set(certify.USELESS)
    assert {cell["losses"] for cell in found} == {*LAWS, "recorded"}
    for cell in found:
        assert max(cell["certified"].values()) >= 0.9


def test_useless_settings_leave_what_is_certified():
    truths = [0.01, *[0.6] * 30]
    alone, among = (certify.drawn("0/1", 0.05, some) for some in (truths[:1], truths))
    for task in (alone, among):
        path = paths(task, 300, rng())
        sampled = task.world.sample(300, 400, rng())
        chosen = chosen_by_certificate(task, BOUNDS["binomial"], path, sampled)
        assert (chosen == 0).mean() > 0.9
        assert violated(task, chosen) == 0
        assert (chosen_by_mean(task, sampled) == 0).mean() > 0.9


def test_looks_hold_where_repeated_intervals_do_not(monkeypatch):
    monkeypatch.setattr(certify, "LOOKS", 150)
    monkeypatch.setattr(certify, "WIDTH_TRIALS", 20)
    found = certify.looks_cell(trials=100)
    for losses in LAWS:
        assert found[losses]["sequence"] <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 100)
        assert found[losses]["repeated_intervals"] > 0.1


def cell(violated=0.04, naive=0.6):
    rules = {
        "betting": {"violated": violated, "standard_error": 0.002},
        certify.NAIVE: {"violated": naive, "standard_error": 0.002},
    }
    return {"rules": rules}


def looks(sequence=0.02):
    return {"trials": 1000} | {losses: {"sequence": sequence} for losses in LAWS}


@pytest.mark.parametrize(
    ("cells", "power", "sequence", "holds"),
    [
        ([cell(), cell(violated=0.053)], 0.95, 0.02, True),
        ([cell(), cell(violated=0.056)], 0.95, 0.02, False),
        ([cell(naive=0.03)], 0.95, 0.02, False),
        ([cell()], 0.85, 0.02, False),
        ([cell()], 0.95, 0.09, False),
        ([], 0.95, 0.02, False),
    ],
)
def test_the_verdict_asks_for_everything(cells, power, sequence, holds):
    strength = [{"certified": {"betting": power}}]
    assert certify.certify_verdict(cells, strength, looks(sequence))["holds"] is holds
