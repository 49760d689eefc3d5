"""Plans keep what was asked for, cost least among those, and say why."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat.engines.base import Sampling
from rheostat.errors import MethodError, PlanError
from rheostat.kernel.plan import Plan
from rheostat.stages.choice import search_dials
from rheostat.stages.goal import WORTH, Goal, checked_goal
from rheostat.stages.losses import base_samples
from rheostat.stages.plan import make_plan
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.run import run
from rheostat.stages.search import Point, setting_name
from rheostat.stages.side_by_side import side_by_side
from rheostat.workloads.load import load_workload
from stages.conftest import write_lines

DEPTH = {"llm_drop", "ffn_skip"}
LIMITS = (0.0, 0.05, 0.1, 0.3, 1.0)


def nothing_said(_):
    return


def planned(engine, workload, **goal):
    options = {"items": 5, "max_new_tokens": 16} | goal
    return make_plan(engine, workload, **options)


def names(plan):
    return {setting.name for setting in plan.methods}


@pytest.fixture(scope="module", autouse=True)
def profiled(tiny):
    """Measure once what all plans of this model read."""
    return cached_profile(tiny) or make_profile(tiny)


@pytest.fixture(scope="module")
def search(tiny, questions):
    """The search for a goal, before anything is held against the test part."""
    workload = load_workload(questions, part="calibration", limit=6)
    samples = base_samples(tiny, workload, Sampling(max_new_tokens=16), nothing_said)
    return lambda goal: search_dials(tiny, goal, workload, samples, nothing_said)


@pytest.fixture(scope="module")
def lossy(tiny, questions):
    return planned(tiny, questions, max_loss=1.0, loss="disagree")


@pytest.fixture(scope="module")
def wide(tmp_path_factory, stages_cache):
    """A tiny model whose weights can be had in two number formats, bfloat16 at half the price."""
    from contract.tiny_engine import LAYERS
    from engines.tiny_gguf import write_tiny_gguf
    from rheostat.engines.torch_load import load_torch
    from rheostat.engines.torch_ways import Tables

    path = write_tiny_gguf(tmp_path_factory.mktemp("wide") / "deep.gguf", layers=LAYERS, seed=2)
    engine = load_torch(str(path), threads=1)
    other = load_torch(str(path), dtype="bfloat16", threads=1)
    for one, seconds in ((engine, 1.0), (other, 0.5)):
        one._tables = Tables(prices_of(seconds))
    engine._opener = lambda name, *, dtype: other
    cached_profile(engine) or make_profile(engine)
    return engine


def prices_of(seconds):
    """A table in which every part of a pass takes so long, whatever its size."""
    from rheostat.kernel.model_cost import PriceTable

    return PriceTable(
        tokens=(1, 32),
        contexts=(1,),
        attention=((seconds, 4 * seconds),),
        mlp=(seconds, 4 * seconds),
        head=(seconds, 4 * seconds),
        fixed=seconds,
    )


# lossless


def test_a_draft_is_picked_where_text_copies(copying):
    plan = planned(*copying, lossless=True)
    assert len(names(plan) & {"copyspec", "suffix"}) == len(plan.methods) == 1
    assert plan.predicted["price_ratio"] < 0.8
    assert plan.why[0].startswith(f"best draft: {plan.methods[0].name} at")
    assert plan.measured["exact_match"] == 1.0
    assert plan.measured["price_ratio"] < 0.8


def test_no_draft_is_picked_where_text_does_not_copy(inventing):
    plan = planned(*inventing, lossless=True)
    assert plan.methods == ()
    assert plan.why[0].startswith("left every draft dial at 0")
    assert plan.measured["price_ratio"] == 1.0


def test_a_lossless_plan_looks_at_no_lossy_method(tiny, questions):
    plan = planned(tiny, questions, lossless=True)
    tried = {m["name"] for point in plan.predicted["tried"] for m in point["methods"]}
    assert not tried & DEPTH
    assert plan.measured["loss"] == 0
    assert plan.measured["exact_match"] == 1.0


# a largest loss


def test_no_loss_leaves_lossy_dials_at_0_and_says_so(tiny, questions):
    plan = planned(tiny, questions, max_loss=0.0, loss="disagree")
    assert not names(plan) & DEPTH
    assert any(sentence.startswith("left every dial with a loss at 0") for sentence in plan.why)
    assert plan.measured["loss"] == 0


def test_a_larger_limit_never_gives_a_dearer_plan(search):
    found = [search(Goal(aim="max_loss", limit=limit)).chosen for limit in LIMITS]
    prices = [point.price_ratio for point in found]
    assert prices == sorted(prices, reverse=True)
    assert prices[-1] < prices[0]


@pytest.mark.parametrize("limit", LIMITS)
def test_the_chosen_point_is_within_the_limit_and_no_allowed_one_is_cheaper(search, limit):
    found = search(Goal(aim="max_loss", limit=limit))
    lossless = found.lossless
    assert found.chosen is lossless or found.chosen.cautious <= limit
    allowed = [p.price_ratio for p in found.points if p.settings and p.cautious <= limit]
    assert found.chosen.price_ratio <= min(allowed, default=1.0) + 2 * WORTH


def test_every_dial_that_is_turned_saves_something(lossy):
    assert names(lossy) & DEPTH
    assert lossy.predicted["price_ratio"] < 1 - WORTH
    assert lossy.measured["loss"] > 0
    low, high = lossy.measured["loss_interval"]
    assert low <= lossy.measured["loss"] <= high


def test_a_setting_that_loses_too_much_on_other_items_is_given_up(tiny, questions):
    # Two items to choose on: the limit is just over what the choice is held to have lost on these.
    given_up = []
    for seed in range(4):
        options = {"loss": "disagree", "items": 2, "max_new_tokens": 8, "seed": seed}
        tried = planned(tiny, questions, max_loss=1.0, **options).predicted["tried"]
        losses = sorted({p["loss"] for p in tried if 0 < p["loss"] < 1})
        plans = [planned(tiny, questions, max_loss=loss + 1e-6, **options) for loss in losses]
        assert all(p.measured["loss"] <= p.predicted["limit"] for p in plans)
        given_up += [p for p in plans if any("up: on held-out items" in w for w in p.why)]
    assert given_up
    for plan in given_up:
        (sentence,) = [w for w in plan.why if "what is kept is" in w]
        kept = " + ".join(setting_name(setting) for setting in plan.methods) or "the base"
        assert sentence.endswith(f"what is kept is {kept}")
        assert plan.measured["loss"] <= plan.predicted["limit"]


def test_a_model_that_is_too_small_for_a_method_gets_a_plan_without_it(shallow, questions):
    plan = planned(shallow, questions, max_loss=1.0, loss="disagree", items=2)
    assert "ffn_skip" not in names(plan)
    assert any(sentence.startswith("left ffn_skip out: ") for sentence in plan.why)


def test_an_engine_without_lossy_methods_says_so(copying):
    plan = planned(*copying, max_loss=0.5, loss="disagree")
    assert (
        "no method with a loss of the seams model, depth, cache is worth measuring here"
    ) in plan.why
    assert len(names(plan) & {"copyspec", "suffix"}) == 1


@pytest.mark.parametrize(("loss", "limit"), [("nats", 0.5), ("score", 0.5)])
def test_other_units_of_loss_are_planned_for(tiny, questions, loss, limit):
    plan = planned(tiny, questions, max_loss=limit, loss=loss, items=2)
    assert plan.measured["loss_kind"] == loss
    assert plan.measured["loss"] <= limit


def test_scores_without_references_are_refused_before_any_work(tmp_path, copying):
    engine, path = copying
    prompts = [item.prompt for item in load_workload(path).items]
    bare = write_lines(tmp_path / "bare.jsonl", [{"prompt": prompt} for prompt in prompts])
    said = []
    with pytest.raises(PlanError, match="needs a reference"):
        make_plan(engine, bare, max_loss=0.6, loss="score", progress=said.append)
    assert said == []


# several methods together


def test_number_formats_are_chosen_only_where_they_are_allowed(wide, questions):
    options = {"max_loss": 0.5, "loss": "disagree"}
    assert "precision" not in names(planned(wide, questions, **options))
    tried = planned(wide, questions, precisions=("bfloat16",), **options).predicted["tried"]
    used = [{m["name"] for m in point["methods"]} for point in tried]
    assert {"precision"} in used
    with pytest.raises(MethodError, match="no number format that a plan can choose"):
        planned(wide, questions, precisions=("int3",), **options)


def test_methods_of_several_seams_are_measured_together(wide, questions):
    plan = planned(wide, questions, max_loss=0.9, loss="disagree", precisions=("bfloat16",))
    together = [p for p in plan.predicted["tried"] if p["kind"] == "together"]
    both = [p for p in together if {"precision", "llm_drop"} <= {m["name"] for m in p["methods"]}]
    assert both
    for point in both:
        parts = [m for m in point["methods"] if m["name"] in {"precision", "llm_drop"}]
        alone = [p for p in plan.predicted["tried"] if p["methods"] in [[part] for part in parts]]
        assert len(alone) == 2
        assert point["price_ratio"] < min(p["price_ratio"] for p in alone)


def test_controls_cost_about_what_the_plan_costs(lossy):
    references = lossy.predicted["references"]
    found = {m["name"] for p in references["controls"] for m in p["methods"]}
    assert {"random_depth", "constant_depth"} & found
    drafts = {s.name for s in lossy.methods} & {"copyspec", "suffix"}
    assert ("fixed_lookup" in found) == bool(drafts)
    for point in references["controls"]:
        assert point["price_ratio"] == pytest.approx(lossy.predicted["price_ratio"], abs=0.15)


# a largest price


@pytest.mark.parametrize("share", [0.5, 0.8, 0.99, 1.0])
def test_the_smallest_loss_is_taken_of_what_is_cheap_enough(tiny, questions, share):
    plan = planned(tiny, questions, max_cost=share)
    cheap = [p["loss"] for p in plan.predicted["tried"] if p["price_ratio"] <= share]
    assert plan.predicted["price_ratio"] <= share
    assert plan.predicted["loss"] == min(cheap)


def test_a_price_that_nothing_reaches_is_refused_in_words(tiny, questions):
    with pytest.raises(PlanError, match=r"no setting found costs at most 0\.01 of the base"):
        planned(tiny, questions, max_cost=0.01)


# goals


@pytest.mark.parametrize(
    "goal",
    [
        {},
        {"lossless": True, "max_cost": 0.5},
        {"lossless": True, "max_loss": 0.1, "loss": "disagree"},
        {"max_loss": 0.1, "loss": "disagree", "max_cost": 0.5},
    ],
)
def test_a_plan_has_exactly_one_goal(copying, goal):
    with pytest.raises(PlanError, match="exactly one of"):
        planned(*copying, **goal)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({"max_loss": -0.1, "loss": "disagree"}, "from 0 to 1"),
        ({"max_loss": float("nan"), "loss": "disagree"}, "from 0 to 1"),
        ({"max_loss": 0.1}, "needs `--loss`"),
        ({"max_loss": 0.1, "loss": "bleu"}, "there is no loss `bleu`"),
        ({"max_loss": 0.4, "loss": "score"}, "under what the base itself loses"),
        ({"max_cost": 0.0}, "over 0 and at most 1"),
        ({"max_cost": 1.5}, "over 0 and at most 1"),
    ],
)
def test_goals_out_of_range_are_refused(goal, message):
    everything = {"lossless": False, "max_loss": None, "loss": None, "max_cost": None}
    with pytest.raises(PlanError, match=message):
        checked_goal(**(everything | goal))


def test_one_item_is_too_few(copying):
    with pytest.raises(PlanError, match="`--items` must be at least 2"):
        planned(*copying, lossless=True, items=1)


# the file


def test_a_plan_survives_json(lossy):
    text = json.dumps(lossy.to_json(), allow_nan=False)
    assert Plan.from_json(json.loads(text)).to_json() == json.loads(text)


def test_the_frontier_holds_the_chosen_point_once_cheapest_first(lossy):
    for key in ("frontier", "tried"):
        kept = [point for point in lossy.predicted[key] if point["kept"]]
        assert [p["price_ratio"] for p in kept] == [lossy.predicted["price_ratio"]]
    prices = [point["price_ratio"] for point in lossy.predicted["frontier"]]
    assert prices == sorted(prices)
    assert lossy.certificate is None


def test_a_plan_runs_as_it_was_measured(tmp_path, tiny, questions, lossy):
    plan = Plan.from_json(json.loads(json.dumps(lossy.to_json())))
    test = load_workload(questions, part="test", limit=5, shuffled=True)
    requests = tmp_path / "requests.jsonl"
    lines = (json.dumps({"id": r.id, "prompt": r.prompt}) + "\n" for r in test.items)
    requests.write_text("".join(lines), encoding="utf-8")
    sampling = Sampling(max_new_tokens=16)
    prices = [
        run(one, requests, tmp_path / name, sampling=sampling, engine=tiny)["cost"]["price"]
        for name, one in {"base": Plan(model=tiny.model), "plan": plan}.items()
    ]
    assert prices[1] / prices[0] == pytest.approx(lossy.measured["price_ratio"])


def test_calibration_and_test_share_no_item(questions):
    parts = [load_workload(questions, part=part).items for part in ("calibration", "test")]
    assert not {item.prompt for item in parts[0]} & {item.prompt for item in parts[1]}


def test_the_same_seed_gives_the_same_plan(tiny, questions, lossy):
    again = planned(tiny, questions, max_loss=1.0, loss="disagree")
    assert again.methods == lossy.methods
    assert again.predicted == lossy.predicted


def test_a_profile_is_made_once_with_progress_and_then_read(tiny, questions, tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path))
    first, second = [], []
    for said in (first, second):
        planned(tiny, questions, max_loss=0.1, loss="disagree", items=2, progress=said.append)
    assert any("leaving out" in line for line in first)
    assert not any("leaving out" in line for line in second)
    assert len(list((tmp_path / "profiles").iterdir())) == 1


# side by side


def test_the_base_beside_itself_is_itself(tiny, questions):
    workload = load_workload(questions, part="test", limit=3)
    sampling = Sampling(max_new_tokens=6)
    samples = base_samples(tiny, workload, sampling, nothing_said)
    compared = side_by_side(tiny, Plan(model=tiny.model), samples, sampling, nothing_said)
    assert (compared.items, compared.exact_match, compared.price_ratio) == (3, 1.0, 1.0)


def test_the_base_is_a_point_without_settings():
    assert Point().to_json(kept=True)["methods"] == []
