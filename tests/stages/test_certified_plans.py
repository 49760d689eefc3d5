"""Certified plans and their checks: frozen paths, data kept apart, seals, looks that add up."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the `torch` extra")

import rheostat
from rheostat import api_check
from rheostat.cli import app
from rheostat.cli_tables import plan_lines
from rheostat.errors import OutputError, PlanError, UserError, WorkloadError
from rheostat.kernel.certify.seal import is_sealed
from rheostat.kernel.plan import Plan
from rheostat.stages import certify
from rheostat.stages.check import decision, interval, more_items
from rheostat.stages.claim import check_size, claim_of
from rheostat.stages.goal import Goal, checked_goal
from rheostat.stages.losses import BATCH
from rheostat.stages.plan import make_plan
from rheostat.stages.search import Point, falling
from rheostat.stages.settings import read_plan
from rheostat.workloads.load import load_workload
from rheostat.workloads.marks import marks, refuse_overlap
from stages.conftest import CERTIFIED as OPTIONS
from stages.conftest import LIMIT, PLANNED, limited, texts, write_lines


@pytest.fixture
def saved(tmp_path, certified):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(certified.to_json()), encoding="utf-8")
    return path


# the certificate


def test_a_certified_plan_turns_a_dial_and_says_what_it_holds(certified, corpora):
    held = certified.certificate
    assert {s.name for s in certified.methods} & {"llm_drop", "ffn_skip"}
    assert held["claim"].startswith("With confidence 0.9 the mean `disagree` of this plan on texts")
    assert held["mean"] < held["upper"] <= LIMIT == held["limit"]
    assert (held["bound"], held["range"]) == ("betting", [0.0, 1.0])
    data = load_workload(corpora[0], part="test", shuffled=True)
    assert held["data"]["digest"] == data.digest
    assert held["data"]["size"] == len(held["data"]["items"]) <= len(data.items)
    assert held["measured_items"] == certified.measured["loss_items"] <= held["data"]["size"]
    assert held["machine"] == certified.machine
    assert certified.measured["loss"] == held["mean"]


def test_a_gentle_setting_is_certified_before_all_items_are_opened(certified, corpora):
    held, whole = certified.certificate, load_workload(corpora[0], part="test", shuffled=True)
    opened = held["data"]["size"]
    assert held["measured_items"] <= opened < len(whole.items)
    assert opened % BATCH == 0
    assert held["data"]["items"] == marks(whole)[:opened]


def test_a_plan_tells_what_its_search_and_its_certificate_took(certified):
    spent = certified.measured["spent"]
    assert set(spent) == {"search", "certification"}
    assert min(spent.values()) > 0
    assert any("the certification for" in line for line in plan_lines(certified, "p")[-4:])


def test_a_bet_that_cannot_be_won_any_more_is_hopeless():
    claim = claim_of(Goal(aim="max_loss", limit=0.2, loss="disagree", confidence=0.95))
    assert claim.hopeless([1.0] * 30, items=60, level=0.05)
    assert not claim.hopeless([0.2] * 30, items=200, level=0.05)
    assert not claim.hopeless([0.0] * 59, items=60, level=0.05)
    assert claim.hopeless([0.0] * 5, items=20, level=1e-6)


def test_search_and_certification_data_are_apart(certified):
    search, data = (set(certified.certificate[part]["items"]) for part in ("search", "data"))
    assert search
    assert data
    assert not search & data


def test_the_plan_is_the_cheapest_of_the_path_that_passed(certified):
    path = certified.certificate["path"]
    tested = [step for step in path if "p_value" in step]
    passed = [step for step in tested if step["certified"]]
    for step in tested:
        assert step["certified"] is (step["p_value"] <= step["level"])
    assert tested[0]["level"] >= 0.5 * 0.1
    own = [{"name": s.name, "dial": s.dial, "params": dict(s.params)} for s in certified.methods]
    assert passed[-1]["methods"] == own
    prices = [s["price_ratio"] for s in passed]
    assert prices == sorted(prices, reverse=True)
    assert certified.certificate["upper"] <= LIMIT


def test_the_order_of_a_files_lines_does_not_matter_to_the_certification(tmp_path, corpora):
    other = write_lines(tmp_path / "turned.jsonl", texts(PLANNED)[::-1])
    one, two = (load_workload(f, part="test", shuffled=True, seed=3) for f in (corpora[0], other))
    assert [item.prompt for item in one.items] == [item.prompt for item in two.items]


def test_nothing_is_certified_where_nothing_is_worth_it(tiny, corpora):
    plan = make_plan(tiny, corpora[0], max_loss=0.12, **OPTIONS)
    assert plan.certificate is None
    assert any("no dial with a loss can be turned" in sentence for sentence in plan.why)
    assert plan.measured["loss"] == 0


def test_a_path_that_fails_says_how_much_data_it_takes(tiny, corpora, monkeypatch):
    def nothing(path, price, p_value, alpha):
        p_value(path[0], 0.0)
        return []

    monkeypatch.setattr(certify, "certified", nothing)
    plan = make_plan(tiny, corpora[0], max_loss=LIMIT, **OPTIONS)
    assert plan.certificate is None
    assert any("items like these would certify it" in sentence for sentence in plan.why)
    assert plan.measured["path"][0]["certified"] is False


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({"lossless": True, "confidence": 0.95}, "certifies a largest loss"),
        ({"max_cost": 0.5, "confidence": 0.95}, "certifies a largest loss"),
        ({"max_loss": 0.1, "loss": "disagree", "confidence": 1.0}, "from 0.5 to under 1"),
        ({"max_loss": 0.1, "loss": "disagree", "confidence": math.nan}, "from 0.5 to under 1"),
    ],
)
def test_confidence_out_of_place_is_refused(goal, message):
    with pytest.raises(PlanError, match=message):
        checked_goal(**goal)


def test_too_little_data_is_refused_before_any_work_with_the_number_needed(tiny, corpora):
    said = []
    with pytest.raises(PlanError, match=r"too little data: .* takes at least \d{3}") as found:
        make_plan(tiny, corpora[0], max_loss=0.01, progress=said.append, **OPTIONS)
    assert "give more items" in found.value.hint
    assert said == []


def test_a_loss_that_the_base_has_itself_cannot_be_certified(tiny, corpora):
    with pytest.raises(PlanError, match="no sample shows"):
        make_plan(tiny, corpora[0], max_loss=0.0, **OPTIONS)
    with pytest.raises(PlanError, match="no sample shows"):
        make_plan(tiny, corpora[0], max_loss=0.5, **(OPTIONS | {"loss": "score"}))


# claims


def test_scores_of_a_perfect_base_are_bounded_exactly():
    goal = Goal(aim="max_loss", limit=0.55, loss="score", confidence=0.95)
    claim = claim_of(goal, [0.5, 1.0, 0.5])
    assert claim.bound.name == "binomial"
    assert claim.upper([0.5] * 59) == pytest.approx(0.5 + 0.5 * (1 - 0.05 ** (1 / 59)))
    # a gain is taken as no loss, a half as a whole one: the bound stays one
    assert claim.upper([0.0] * 59) == claim.upper([0.5] * 59)
    assert claim.upper([0.5] * 58 + [0.6]) == claim.upper([0.5] * 58 + [1.0])
    assert claim_of(goal, [0.5, 0.7]).bound.name == "betting"
    assert claim_of(goal).bound.name == "betting"


@pytest.mark.parametrize(("kind", "bad"), [("disagree", 1.5), ("disagree", math.nan), ("nats", -2)])
def test_what_is_no_loss_is_refused(kind, bad):
    claim = claim_of(Goal(aim="max_loss", limit=0.2, loss=kind, confidence=0.95))
    with pytest.raises(PlanError, match="outside its range"):
        claim.p_value([0.0, bad])


def test_the_size_that_is_asked_for_is_enough_and_one_less_is_not():
    claim = claim_of(Goal(aim="max_loss", limit=0.05, loss="nats", confidence=0.95))
    least = claim.least()
    assert claim.p_value([0.0] * least) <= 0.05 < claim.p_value([0.0] * (least - 1))
    check_size(claim, least, "w")
    with pytest.raises(PlanError, match=f"at least {least}"):
        check_size(claim, least - 1, "w")


def test_a_path_holds_each_lossy_setting_once_at_its_cheapest():
    from rheostat.kernel.plan import Setting
    from rheostat.stages.choice import Found

    def point(depth, price, loss, draft=None):
        settings = (Setting(name="llm_drop", dial=depth),)
        if draft:
            settings += (Setting(name="copyspec", dial=draft),)
        return Point(settings=settings, price_ratio=price, loss=loss, losses=(loss, loss))

    lossy = [
        point(0.1, 0.9, 0.02),
        point(0.1, 0.6, 0.02, draft=0.5),
        point(0.2, 0.8, 0.01),
        point(0.3, 0.5, 0.04),
        point(0.4, 0.7, 0.05),
    ]
    found = Found(chosen=lossy[0], lossless=Point(), points=lossy, lossy=lossy, why=())
    assert [p.price_ratio for p in certify.path_of(found)] == [0.8, 0.6, 0.5, 0.7]
    assert [p.price_ratio for p in falling(certify.path_of(found))] == [0.8, 0.6, 0.5]
    cheap = replace(found, lossless=Point(price_ratio=0.55))
    assert [p.price_ratio for p in certify.path_of(cheap)] == [0.5]


# overlap and seals


def test_items_that_were_used_are_refused():
    with pytest.raises(WorkloadError, match="1 of the 2 items of `w` were used in the search"):
        refuse_overlap(["a", "b"], ["b", "c"], subject="w", what="the search")
    refuse_overlap(["a"], ["b"], subject="w", what="the search")


def test_a_built_in_item_is_known_again_under_another_seed():
    one, two = (load_workload("edit", seed=seed) for seed in (0, 1))
    assert {i.messages[0]["content"] for i in one.items} != {
        i.messages[0]["content"] for i in two.items
    }
    assert set(marks(one)) == set(marks(two))


def test_a_certified_plan_survives_json(certified, saved):
    assert read_plan(saved) == Plan.from_json(json.loads(json.dumps(certified.to_json())))
    assert is_sealed(read_plan(saved))


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: plan["certificate"].update(limit=0.01),
        lambda plan: plan["certificate"].update(confidence=0.999),
        lambda plan: plan["methods"][0].update(dial=0.5),
        lambda plan: plan["methods"].clear(),
        lambda plan: plan.update(dtype="bfloat16"),
        lambda plan: plan["certificate"].pop("digest"),
    ],
)
def test_a_plan_edited_by_hand_is_refused(saved, edit):
    data = json.loads(saved.read_text(encoding="utf-8"))
    edit(data)
    saved.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(PlanError, match="was edited"):
        read_plan(saved)


# checks


def test_new_texts_confirm_a_certificate(tiny, corpora, saved):
    found = rheostat.check(saved, corpora[1], engine=tiny)
    assert found["verdict"] == "pass"
    assert found["interval"][1] <= LIMIT
    assert 0 < found["items"] == found["new_items"] <= 72


def test_a_limit_that_is_broken_is_refuted(tiny, corpora, certified, tmp_path):
    state = tmp_path / "s.jsonl"
    found = rheostat.check(limited(certified, 0.001), corpora[1], engine=tiny, state=state)
    assert found["verdict"] == "fail"
    assert found["interval"][0] > 0.001


def test_few_items_leave_it_open_and_the_next_check_goes_on(tiny, corpora, certified, tmp_path):
    state = tmp_path / "s.jsonl"
    near = limited(certified, min(certified.certificate["mean"] + 0.02, 0.99))
    runs = [rheostat.check(near, corpora[1], engine=tiny, state=state, items=n) for n in (4, 4, 1)]
    assert [run["items"] for run in runs] == [4, 8, 9]
    assert {run["verdict"] for run in runs} == {"undecided"}
    low, high = zip(*(run["interval"] for run in runs), strict=True)
    assert list(low) == sorted(low)
    assert list(high) == sorted(high, reverse=True)
    whole = rheostat.check(near, corpora[1], engine=tiny, state=state)
    again = rheostat.check(near, corpora[1], engine=tiny, state=state)
    assert again == whole | {"new_items": 0}


def test_a_check_that_was_cut_off_in_a_line_goes_on(tiny, corpora, certified, tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    near = limited(certified, min(certified.certificate["mean"] + 0.02, 0.99))
    whole = rheostat.check(near, corpora[1], engine=tiny, state=one, items=16)
    lines = one.read_text(encoding="utf-8").splitlines(keepends=True)
    two.write_text("".join(lines[:6]) + lines[6][:9], encoding="utf-8")
    found = rheostat.check(near, corpora[1], engine=tiny, state=two, items=11)
    assert found["items"] == whole["items"] == 16
    assert found["interval"] == whole["interval"]


def test_texts_that_the_plan_was_made_from_are_refused(tiny, corpora, saved):
    with pytest.raises(WorkloadError, match="were used in making this plan"):
        rheostat.check(saved, corpora[0], engine=tiny)


def test_checks_of_another_certificate_are_refused(tiny, corpora, certified, tmp_path):
    state = tmp_path / "s.jsonl"
    rheostat.check(certified, corpora[1], engine=tiny, state=state, items=1)
    with pytest.raises(OutputError, match="another certificate"):
        rheostat.check(limited(certified, 0.5), corpora[1], engine=tiny, state=state)


def test_a_plan_without_a_certificate_has_nothing_to_check(tiny, corpora, tmp_path):
    with pytest.raises(PlanError, match="no certificate to check"):
        rheostat.check(Plan(model="m"), corpora[1], engine=tiny, state=tmp_path / "s.jsonl")


@pytest.mark.parametrize(
    ("limit", "items", "code", "verdict", "said"),
    [
        (LIMIT, 72, 0, "pass", ""),
        (0.001, 72, 3, "fail", "the certificate is refuted"),
        (None, 4, 2, "undecided", "too little data: after 4 items"),
    ],
)
def test_the_command_ends_with_the_code_of_its_verdict(
    tiny, corpora, certified, tmp_path, monkeypatch, limit, items, code, verdict, said
):
    told = {}
    monkeypatch.setattr(api_check, "load_engine", lambda *_, **said: told.update(said) or tiny)
    near = min(certified.certificate["mean"] + 0.02, 0.99)
    plan = limited(certified, near if limit is None else limit)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()), encoding="utf-8")
    asked = ["check", str(path), "--workload", corpora[1], "--items", str(items), "--json"]
    done = CliRunner().invoke(app, [*asked, "--device", "cuda:1"])
    assert done.exit_code == code
    assert told["device"] == "cuda:1"
    assert json.loads(done.stdout.splitlines()[-1])["verdict"] == verdict
    assert said in done.stderr
    assert (tmp_path / "plan.json.checks.jsonl").exists()


def test_a_loaded_engine_is_not_moved(tiny, corpora, certified, tmp_path):
    with pytest.raises(UserError, match="runs where it is"):
        rheostat.check(certified, corpora[1], engine=tiny, state=tmp_path / "s", device="cpu")


def test_what_is_said_to_be_needed_decides():
    certificate = {"loss": "disagree", "limit": 0.2, "confidence": 0.95}
    losses = [0.0, 0.0, 0.3, 0.0, 0.1] * 2
    assert decision(losses, certificate) == "undecided"
    more = more_items(losses, certificate)
    longer = losses + np.random.default_rng(5).choice(losses, 2 * more).tolist()
    assert decision(longer, certificate) == "pass"
    assert more_items([], certificate) is None
    assert interval([], certificate) == (0.0, 1.0)
