"""The benchmark suite `constrain`: equal prompts for everyone, honest counts, a strict verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")
pytest.importorskip("llguidance", reason="needs the extra `constraints`")

from rheostat import catalog
from rheostat.bench import constrain
from rheostat.bench.constrain_tasks import TASKS, is_person, without_e
from rheostat.bench.journal import Journal
from rheostat.workloads.constraints import wanted

pytest_plugins = ["stages.conftest"]


def nothing_said(_):
    return


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "constrain.partial.json")


def short(name):
    """A task whose answers a model of noise ends within a few tokens."""
    task = next(task for task in TASKS if task.name == name)
    if name == "predicate":
        return replace(task, prompts=task.prompts[:2], constraint=wanted(few_letters))
    return replace(task, prompts=task.prompts[:2])


def few_letters(text, ended):
    return without_e(text) and (len(text) == 8 if ended else len(text) <= 8)


@pytest.mark.parametrize("name", ["regex", "predicate"])
@pytest.mark.parametrize("way", ["greedy", "drawn"])
def test_a_cell_counts_calls_time_and_validity(tiny, journal, name, way):
    cell = constrain.constrain_cell(tiny, short(name), way, nothing_said, journal)
    found = cell["contestants"]
    assert cell["prompts"] == 2
    for counted in found.values():
        assert (counted["ended"], counted["invalid"]) == (2, 0)
        assert 0 < counted["deciding_seconds_a_token"] < counted["seconds_a_token"]
    assert found["awrs"]["calls_a_token"] < found["every token"]["calls_a_token"]
    assert (found["mask"]["calls_a_token"] == 1) is (name == "regex")
    if way == "greedy":
        assert all(counted["same_as_mask"] == 1 for counted in found.values())
    json.dumps(cell, allow_nan=False)


def test_particles_are_weighed_beside_one_answer(tiny, journal, monkeypatch):
    monkeypatch.setattr(constrain, "PARTICLES", 40)
    cell = constrain.particles_cell(tiny, short("regex"), nothing_said, journal)
    assert 0 < cell["probability"] < 1
    assert 1 <= cell["effective"] <= 40
    assert cell["valid"] >= 1
    assert cell["tokens_per_second"] > 0


def test_the_control_enters():
    controls = {
        n for n, m in catalog.methods().items() if m.card.seam == "token" and m.card.control
    }
    assert controls <= set(constrain.CONTESTANTS)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"name": "Ann", "age": 3, "city": "Bern"}', True),
        ('{"name": "Ann", "age": 3}', False),
        ('{"name": "Ann", "age": "3", "city": "Bern"}', False),
        ('{"name": "", "age": 3, "city": "Bern"}', False),
        ('{"name": "Ann", "age": true, "city": "Bern"}', False),
        ("[1]", False),
        ("{", False),
    ],
)
def test_the_judge_of_json_knows_its_schema(text, valid):
    assert is_person(text) is valid


def cell(*, calls=2.0, tries=3.0, time=1.0, mask=2.0, invalid=0, same=1.0, way="greedy"):
    def counted(calls, time, invalid=0, same=1.0):
        return {
            "calls_a_token": calls,
            "deciding_seconds_a_token": time,
            "invalid": invalid,
            "same_as_mask": same,
        }

    return {
        "way": way,
        "contestants": {
            "mask": counted(1.0, mask),
            "every token": counted(9.0, 9.0),
            "awrs": counted(calls, time, invalid, same),
            "fixed_tries": counted(tries, 2.0),
        },
    }


@pytest.mark.parametrize(
    ("cells", "beats"),
    [
        ([cell(), cell(way="drawn", same=0.0)], True),
        ([cell(), cell(), cell(calls=3.0)], True),
        ([cell(), cell(calls=3.0)], False),
        ([cell(), cell(), cell(calls=3.5)], False),
        ([cell(), cell(mask=0.5)], False),
        ([cell(), cell(invalid=1)], False),
        ([cell(), cell(same=0.5)], False),
        ([], False),
    ],
)
def test_few_checks_must_be_fewer_faster_and_right_in_every_cell(cells, beats):
    assert constrain.constrain_verdict(cells)["beats_controls"] is beats
