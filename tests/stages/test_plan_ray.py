"""Workers of a real Ray cluster measure a search's losses: the same plan, and none is lost."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat.errors import ModelError, PlanError, UserError
from rheostat.stages import ahead
from rheostat.stages.durable_files import json_lines
from rheostat.stages.losses import Evaluate
from rheostat.stages.plan import make_plan
from stages.conftest import write_lines

ray = pytest.importorskip("ray", reason="needs the `ray` extra")

pytestmark = pytest.mark.slow

GOAL = {"max_loss": 0.6, "loss": "disagree", "items": 10, "max_new_tokens": 8, "threads": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory, stages_cache):
    from contract.tiny_engine import LAYERS
    from engines.tiny_gguf import write_tiny_gguf

    path = tmp_path_factory.mktemp("ray") / "deep.gguf"
    return str(write_tiny_gguf(path, layers=LAYERS, seed=2))


@pytest.fixture(scope="module")
def alone(model, questions, tmp_path_factory):
    """The journal of a search in one process, and its plan."""
    path = tmp_path_factory.mktemp("alone") / "j"
    return path, make_plan(model, questions, journal=path, **GOAL)


def losses(path):
    """What was measured of settings, by its key."""
    return {o["key"]: o["data"] for o in json_lines(path)[1:] if " on items " in o["about"]}


def begun(path, alone):
    """A journal that knows the other search's prices, which are measured by a clock."""
    head, *lines = json_lines(alone[0])
    prices = [line for line in lines if line["about"].startswith("what passes cost")]
    write_lines(path, [head, *prices])
    return path


def decided(plan):
    """What does not depend on the clock."""
    data = json.loads(json.dumps(plan.to_json()))
    for key in ("seconds_ratio", "seconds_interval", "spent"):
        del data["measured"][key]
    return data


def test_workers_measure_the_same_losses_and_the_plan_is_the_same(
    cluster, model, questions, alone, tmp_path, monkeypatch
):
    path = begun(tmp_path / "j", alone)
    spread = make_plan(model, questions, journal=path, ray="auto", **GOAL)
    assert losses(path).items() >= losses(alone[0]).items() != set()
    assert decided(spread) == decided(alone[1])

    def refuse(*_):
        raise AssertionError("it was measured before")

    monkeypatch.setattr(Evaluate, "__call__", refuse)
    assert decided(make_plan(model, questions, journal=path, **GOAL)) == decided(spread)
    again = make_plan(model, questions, journal=alone[0], ray="auto", **GOAL)
    assert decided(again) == decided(spread)


def test_what_a_dying_worker_was_at_is_measured_again(
    cluster, model, questions, alone, tmp_path, monkeypatch
):
    class Dying(ahead.Worker):
        def measure(self, settings, among):
            mark = tmp_path / "died"
            if not mark.exists():
                mark.touch()
                os._exit(1)
            return super().measure(settings, among)

    monkeypatch.setattr(ahead, "Worker", Dying)
    path = begun(tmp_path / "j", alone)
    spread = make_plan(model, questions, journal=path, ray="auto", **GOAL)
    assert (tmp_path / "died").exists()
    assert losses(path).items() >= losses(alone[0]).items()
    assert decided(spread) == decided(alone[1])


def test_what_ends_every_worker_is_given_up_in_words(
    cluster, model, questions, tmp_path, monkeypatch
):
    class Dead(ahead.Worker):
        def measure(self, settings, among):
            os._exit(1)

    monkeypatch.setattr(ahead, "Worker", Dead)
    with pytest.raises(ModelError, match=r"3 workers died while they measured .* on items 1 to 8"):
        make_plan(model, questions, journal=tmp_path / "j", ray="auto", **GOAL)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "another"}, "has another model under"),
        ({"version": "0.0"}, r"runs Rheostat .*, and this is 0\.0"),
        ({"engine": "none"}, "workers cannot start: .* unexpected keyword argument 'engine'"),
    ],
)
def test_what_a_worker_refuses_is_said(
    cluster, model, questions, tmp_path, monkeypatch, change, said
):
    class Other(ahead.Worker):
        def __init__(self, loaded, job):
            super().__init__(ahead.replace(loaded, **change), job)

    monkeypatch.setattr(ahead, "Worker", Other)
    with pytest.raises(ModelError, match=said):
        make_plan(model, questions, journal=tmp_path / "j", ray="auto", **GOAL)


def test_a_worker_of_more_processors_than_there_are_is_refused(cluster, model, questions):
    with pytest.raises(UserError, match="1 workers of 3 processors do not fit the cluster's 2"):
        make_plan(model, questions, ray="auto", **GOAL | {"threads": 3})


def test_workers_need_a_models_name(tiny, questions):
    with pytest.raises(PlanError, match="needs a model's name"):
        make_plan(tiny, questions, ray="auto", **GOAL)
