import json

import pytest
from dropped import dropped, shape_of
from hypothesis import given
from hypothesis import strategies as st

from rheostat.errors import MethodError
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.methods.depth.constant_depth import ConstantDepth
from rheostat.methods.depth.llm_drop import LlmDrop
from rheostat.methods.depth.random_depth import RandomDepth

SHAPE = shape_of(4)
PROFILE = {
    "redundancy": {
        "attention": {"drop_loss": [0.9, 0.1, 0.4, 0.2]},
        "mlp": {"drop_loss": [2.0, 0.3, 0.15, 0.5]},
        "layer": {"drop_loss": [3.0, 0.2, 0.1, 0.4]},
        "ranking": {
            "attention": [2, 1, 3, 0],
            "mlp": [1, 3, 2, 0],
            "layer": [3, 2, 1, 0],
            "joint": [
                *(["attention", 2], ["mlp", 1], ["attention", 1], ["mlp", 3]),
                *(["attention", 3], ["mlp", 2], ["attention", 0], ["mlp", 0]),
            ],
        },
    }
}
UNITS = st.sampled_from(["attention", "mlp", "joint", "layer"])
ORDERS = st.sampled_from(["similarity", "loss"])


def at(dial, **params):
    method = LlmDrop(**params)
    return method.at(dial, method.fit(PROFILE), SHAPE)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("attention", {("attention", 2), ("attention", 1)}),
        ("mlp", {("mlp", 1), ("mlp", 3)}),
        ("joint", {("attention", 2), ("mlp", 1), ("attention", 1), ("mlp", 3)}),
        ("layer", {("attention", 3), ("mlp", 3), ("attention", 2), ("mlp", 2)}),
    ],
)
def test_dial_one_drops_half_of_the_units_in_the_order_of_the_ranking(unit, expected):
    assert dropped(at(1.0, unit=unit)) == expected


def test_the_order_by_loss_drops_what_costs_least_alone():
    assert dropped(at(0.5, order="loss")) == {("attention", 1)}
    three = at(0.75, unit="joint", order="loss")
    assert dropped(three) == {("attention", 1), ("mlp", 2), ("attention", 3)}


@given(unit=UNITS, order=ORDERS)
def test_dial_zero_is_the_full_model(unit, order):
    assert at(0.0, unit=unit, order=order) == Depth(Layout.full(4))


@given(unit=UNITS, order=ORDERS, dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_dial_drops_a_superset(unit, order, dials):
    low, high = (at(d, unit=unit, order=order, max_share=1.0) for d in sorted(dials))
    assert dropped(low) <= dropped(high)


@given(share=st.floats(0.01, 1))
def test_no_more_than_the_share_is_dropped(share):
    assert len(dropped(at(1.0, max_share=share))) <= share * 4


def test_fitted_numbers_survive_json():
    method = LlmDrop(unit="joint")
    fitted = method.fit(PROFILE)
    assert method.at(0.7, json.loads(json.dumps(fitted)), SHAPE) == method.at(0.7, fitted, SHAPE)


@pytest.mark.parametrize("profile", [{}, {"redundancy": {}}, {"redundancy": {"ranking": {}}}])
@pytest.mark.parametrize("order", ["similarity", "loss"])
def test_a_profile_without_the_ranking_is_refused_in_words(profile, order):
    with pytest.raises(MethodError, match="no ranking of `mlp`") as caught:
        LlmDrop(unit="mlp", order=order).fit(profile)
    assert "rheostat profile" in caught.value.hint


@pytest.mark.parametrize("fitted", [{}, {"ranking": [["mlp", 0]]}, LlmDrop().fit(PROFILE)])
def test_numbers_of_another_model_are_refused(fitted):
    with pytest.raises(MethodError, match="ranking of `llm_drop`"):
        LlmDrop().at(0.5, fitted, shape_of(6))


@pytest.mark.parametrize("params", [{"unit": "head"}, {"max_share": 0}, {"order": "alphabet"}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="llm_drop"):
        LlmDrop(**params)


@pytest.fixture
def idle(tmp_path):
    """A tiny model in which the attentions 1, 4, 5 and 7 of eight do next to nothing."""
    pytest.importorskip("torch", reason="runs the model")
    from contract.tiny_engine import Bench, profile_of, tiny_engine
    from engines.tiny_gguf import write_tiny_gguf

    path = write_tiny_gguf(tmp_path / "idle.gguf", layers=8)
    engine = tiny_engine(path, factors={f"layers.{i}.o.weight": 0.01 for i in (1, 4, 5, 7)})
    return Bench(engine, profile_of(engine))


def test_the_ranking_finds_what_is_idle_and_beats_both_controls_at_equal_price(idle):
    text = [*range(20, 80)]
    base = idle.score(idle.installed(), text)

    def run(method):
        depth = method.at(1.0, method.fit(idle.profile), idle.engine.shape)
        scored = idle.score(Installed(depth=depth), text)
        return scored.cost.price, (scored.choice != base.choice).mean()

    price, disagree = run(LlmDrop())
    controls = [RandomDepth(draw=d) for d in range(3)]
    controls += [ConstantDepth(order=o) for o in ("last", "first", "spread")]
    assert disagree < 0.1
    for other_price, other in map(run, controls):
        assert other_price == pytest.approx(price)
        assert disagree < other
