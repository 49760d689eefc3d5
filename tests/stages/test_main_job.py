"""The main job on the embedded model: plan, run base and plan, report."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat.engines.base import Sampling
from rheostat.engines.load import load_engine
from rheostat.kernel.plan import Plan
from rheostat.stages.plan import make_plan
from rheostat.stages.report import write_report
from rheostat.stages.run import run
from rheostat.workloads.items import write_requests
from rheostat.workloads.load import load_workload

pytestmark = pytest.mark.slow

SAMPLING = Sampling(max_new_tokens=32)


def answers(folder):
    lines = (folder / "outputs.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["token_ids"] for line in lines]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder of a finished job: `plan.json`, the runs `base` and `plan`, `report.html`."""
    folder = tmp_path_factory.mktemp("job")
    engine = load_engine("smollm2")
    made = make_plan(engine, "edit", lossless=True, items=3, max_new_tokens=32)
    (folder / "plan.json").write_text(json.dumps(made.to_json()), encoding="utf-8")
    requests = folder / "requests.jsonl"
    write_requests(requests, load_workload("edit", part="test").items[3:6])
    read = Plan.from_json(json.loads((folder / "plan.json").read_text(encoding="utf-8")))
    base = Plan(model="smollm2", digest=engine.digest, dtype=engine.dtype)
    for label, plan in {"base": base, "plan": read}.items():
        run(plan, requests, folder / label, sampling=SAMPLING, engine=engine, label=label)
    write_report([folder / "base", folder / "plan"], folder / "report.html")
    return folder


def test_a_lossless_plan_writes_the_base_s_tokens(job):
    assert answers(job / "base") == answers(job / "plan")
    assert len(answers(job / "plan")) == 3


def test_the_plan_says_what_it_measured_and_why(job):
    plan = Plan.from_json(json.loads((job / "plan.json").read_text(encoding="utf-8")))
    assert (plan.model, plan.dtype, plan.certificate) == ("smollm2", "float32", None)
    assert plan.measured["exact_match"] == 1.0
    assert plan.measured["loss"] == 0
    assert plan.why


def test_a_plan_of_a_text_that_copies_is_predicted_near_what_it_cost(job):
    plan = Plan.from_json(json.loads((job / "plan.json").read_text(encoding="utf-8")))
    assert 0 < plan.predicted["price_ratio"] <= 1
    assert 0.5 < plan.measured["price_ratio"] / plan.predicted["price_ratio"] < 2


def test_the_report_is_one_page(job):
    page = (job / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!")
    assert "lossless" in page or "plan" in page
