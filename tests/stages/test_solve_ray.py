"""Workers of a real Ray cluster draw the samples: the same answers, one ledger, nothing lost."""

from __future__ import annotations

import pytest

import rheostat
from rheostat.engines.ray_sampler import RaySampler
from rheostat.errors import UserError
from rheostat.stages.solve_driver import Limits
from stages.sample_runs import answers_in, samples_in, write_inputs

ray = pytest.importorskip("ray", reason="needs the `ray` extra")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

OPTIONS = {"samples": 6, "sampling": {"max_new_tokens": 8, "temperature": 1.0}}
GYM = "gym:products?min_terms=2&max_terms=2&max_digits=1&size=2"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def decided(found):
    """Answers and tokens; seconds differ."""
    return [
        {k: v for k, v in line.items() if k != "cost"}
        | {k: line["cost"][k] for k in ("prompt_tokens", "new_tokens")}
        for line in found["answers"]
    ]


@pytest.mark.parametrize("rule", ["agreement", "deepprune"])
@pytest.mark.parametrize("tokens", [60, 5000])
def test_workers_give_the_same_answers_as_one_process(inputs, tmp_path, rule, tokens):
    model, tasks = inputs
    budget = f"tokens={tokens}"
    alone = rheostat.solve(model, tasks, budget=budget, out=tmp_path / "a", rule=rule, **OPTIONS)
    spread = rheostat.solve(
        model, tasks, budget=budget, out=tmp_path / "b", rule=rule, ray="auto", workers=2, **OPTIONS
    )
    assert decided(spread) == decided(alone)
    spent = sum(line["prompt_tokens"] + line["new_tokens"] for line in decided(spread))
    assert spent == spread["cost"]["prompt_tokens"] + spread["cost"]["new_tokens"] <= tokens


def test_a_worker_that_dies_loses_no_finished_sample(inputs, tmp_path, monkeypatch):
    real, killed = RaySampler.poll, []

    def poll(self):
        if not killed and sum(flight.worker == 1 for flight in self._flying.values()) > 1:
            killed.append(1)
            ray.kill(self._workers[1])
        return real(self)

    monkeypatch.setattr(RaySampler, "poll", poll)
    out, asked = tmp_path / "run", {"rule": "majority", "limits": Limits(width=8), **OPTIONS}
    model, tasks = inputs
    found = rheostat.solve(
        model, tasks, budget="tokens=5000", out=out, ray="auto", workers=2, **asked
    )
    first, held = answers_in(out), samples_in(out)
    gone = [sample for sample in held if sample.failed]
    assert killed
    assert all("died" in sample.failed for sample in gone)
    assert found["failed"] == len(gone)
    assert len(held) == len(first) * OPTIONS["samples"]
    monkeypatch.undo()
    again = rheostat.solve(model, tasks, budget="tokens=5000", out=out, **asked)
    assert again["answers"] == first
    assert samples_in(out) == held


def test_the_real_model_gives_the_same_answers_on_workers(tmp_path):
    options = {"samples": 3, "sampling": {"max_new_tokens": 8}, "threads": 1}
    pytest.importorskip("reasoning_gym", reason="needs the `tasks` extra")
    alone = rheostat.solve("smollm2", GYM, budget="tokens=2500", out=tmp_path / "a", **options)
    spread = rheostat.solve(
        "smollm2", GYM, budget="tokens=2500", out=tmp_path / "b", ray="auto", **options
    )
    assert decided(spread) == decided(alone)


def test_what_cannot_be_spread_is_said(inputs, tmp_path):
    model, tasks = inputs
    with pytest.raises(UserError, match="do not fit the cluster's 2"):
        rheostat.solve(
            model, tasks, budget="tokens=99", out=tmp_path, ray="auto", workers=3, **OPTIONS
        )
    with pytest.raises(UserError, match="cannot be sent"):
        rheostat.solve(
            rheostat.load(model), tasks, budget="tokens=99", out=tmp_path, ray="auto", **OPTIONS
        )
