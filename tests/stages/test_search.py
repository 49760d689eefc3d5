"""Predicted prices against executed ones, the sweeps of the dials, and the frontier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat import catalog
from rheostat.engines.base import Sampling
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.losses import base_samples, evaluator
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.search import Point, Search, frontier, setting_name
from rheostat.workloads.load import load_workload

TOKENS = 12


def nothing_said(_):
    return


def searching(engine, path, *, items=4, tokens=TOKENS):
    workload = load_workload(path, part="calibration", limit=items)
    samples = base_samples(engine, workload, Sampling(max_new_tokens=tokens), nothing_said)
    return Search(engine, samples, nothing_said), workload


@pytest.fixture(scope="module")
def search(tiny, questions):
    return searching(tiny, questions)[0]


@pytest.fixture(scope="module")
def profile(tiny):
    return cached_profile(tiny) or make_profile(tiny)


@pytest.fixture(scope="module")
def depths(tiny, questions, profile):
    search, workload = searching(tiny, questions)
    evaluate = evaluator("disagree", tiny, workload, search.samples, "calibration")
    return list(search.depth_points(evaluate, profile, 1.0))


def price_of(search, settings=()):
    engine = search.engine
    plan = Plan(model=engine.model, methods=settings)
    decision = catalog.installed(plan, engine.shape, engine.card.offers)
    made = [
        next(
            engine.generate(
                [sample.request], Sampling(max_new_tokens=sample.limit), installed=decision
            )
        )
        for sample in search.samples
    ]
    return sum(output.cost.price for output in made)


def test_the_base_is_predicted_at_what_it_costs(search):
    assert search.base_price == pytest.approx(price_of(search))


def test_drafts_are_predicted_at_what_they_cost(search):
    points = list(search.draft_points())
    assert points
    for point in points:
        ratio = price_of(search, point.settings) / price_of(search)
        assert point.price_ratio == pytest.approx(ratio)


@pytest.mark.parametrize("tokens", [6, 13, 40])
def test_drafts_are_priced_with_the_end_of_the_answer(copying, tokens):
    search, _ = searching(*copying, tokens=tokens)
    for point in search.draft_points():
        ratio = price_of(search, point.settings) / price_of(search)
        assert point.price_ratio == pytest.approx(ratio, rel=0.05)


def test_a_sweep_holds_no_decision_twice(depths):
    names = [point.name for point in depths]
    assert len(set(names)) == len(names)
    assert {s.name for p in depths for s in p.settings} == {"lac", "llm_drop", "ffn_skip"}


def test_no_control_is_searched(search, depths):
    points = [*search.draft_points(), *depths]
    used = {setting.name for point in points for setting in point.settings}
    assert not any(catalog.method(name).card.control for name in used)


def test_dropping_more_is_never_dearer(depths):
    for unit in ("attention", "mlp", "joint"):
        prices = [p.price_ratio for p in depths if p.settings[0].params.get("unit") == unit]
        assert len(prices) > 1
        assert prices == sorted(prices, reverse=True)


def test_a_sweep_ends_far_beyond_the_limit(tiny, questions, profile, depths):
    search, workload = searching(tiny, questions)
    evaluate = evaluator("disagree", tiny, workload, search.samples, "calibration")
    gentle = list(search.depth_points(evaluate, profile, 0.01))
    assert len(gentle) < len(depths)
    assert all(any(p.name == q.name for q in depths) for p in gentle)


def test_a_method_that_a_small_model_cannot_have_is_left_out_in_words(shallow, questions):
    search, workload = searching(shallow, questions, items=2)
    evaluate = evaluator("disagree", shallow, workload, search.samples, "calibration")
    profile = cached_profile(shallow) or make_profile(shallow)
    points = list(search.depth_points(evaluate, profile, 1.0))
    assert {s.name for p in points for s in p.settings} == {"lac", "llm_drop"}
    assert search.left_out == [
        "left ffn_skip out: `ffn_skip` has nothing to omit in 2 layers: the first 2 and the last "
        "5 always run"
    ]


def test_an_engine_without_depth_has_no_depth_points(copying):
    search, _ = searching(*copying)
    assert list(search.depth_points(lambda _: None, {}, 1.0)) == []


def test_a_draft_over_a_depth_point_keeps_its_loss(search, depths):
    under = depths[-1]
    for point in search.draft_points(under):
        assert point.losses == under.losses
        assert point.settings[0] == under.settings[0]


def test_a_single_item_never_shows_that_a_loss_is_small():
    assert Point(losses=(0.0,)).cautious == float("inf")
    assert Point(loss=0.2, losses=(0.1, 0.3)).cautious == pytest.approx(0.3)


points = st.builds(
    lambda price, loss: Point(price_ratio=price, loss=loss, losses=(loss,)),
    st.floats(0.1, 2),
    st.floats(0, 1),
)


@given(st.lists(points, min_size=1, max_size=12))
def test_no_point_beats_one_on_the_frontier(every):
    for kept in frontier(every):
        assert not any(
            p.price_ratio <= kept.price_ratio
            and p.loss <= kept.loss
            and (p.price_ratio, p.loss) != (kept.price_ratio, kept.loss)
            for p in every
        )


@given(st.lists(points, min_size=1, max_size=12))
def test_every_point_is_on_the_frontier_or_beaten_by_one(every):
    kept = frontier(every)
    for p in every:
        assert any(k.price_ratio <= p.price_ratio and k.loss <= p.loss for k in kept)


def test_settings_are_named_with_their_parameters():
    setting = Setting(name="llm_drop", dial=0.1, params={"unit": "mlp"})
    assert setting_name(setting) == "llm_drop (unit=mlp) at 0.1"
    assert Point().name == "the base"
