"""Plans survive JSON, and what is no plan is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.errors import PlanError, UserError
from rheostat.kernel.plan import Plan, Setting

TEXTS = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)
SETTINGS = st.builds(Setting, name=TEXTS, dial=st.floats(0, 1), params=OBJECTS, fitted=OBJECTS)
PLANS = st.builds(
    Plan,
    model=TEXTS,
    digest=TEXTS,
    machine=TEXTS,
    dtype=TEXTS,
    methods=st.lists(SETTINGS, max_size=3).map(tuple),
    predicted=OBJECTS,
    measured=OBJECTS,
    certificate=st.none() | OBJECTS,
    why=st.lists(TEXTS, max_size=2).map(tuple),
)
LEAST = {"version": 1, "model": "smollm2"}


@settings(max_examples=40)
@given(PLANS)
def test_json_gives_the_plan_back(plan: Plan) -> None:
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(VALUES)
def test_anything_else_raises_a_user_error_or_is_a_plan(data: Any) -> None:
    try:
        Plan.from_json(data)
    except UserError:
        return
    raise AssertionError("random JSON holds no plan")


@given(
    st.sampled_from(["methods", "why", "predicted", "measured", "certificate"]), VALUES | OBJECTS
)
def test_a_malformed_part_is_refused_or_survives(key: str, value: Any) -> None:
    try:
        plan = Plan.from_json({**LEAST, key: value})
    except UserError:
        return
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "not a plan"),
        ({"model": "smollm2"}, "not a plan"),
        ({**LEAST, "version": 2}, "version `2`"),
        ({**LEAST, "methods": [{"name": "copyspec"}]}, "needs a `name` and a `dial`"),
        ({**LEAST, "methods": ["copyspec"]}, "needs a `name` and a `dial`"),
        ({**LEAST, "methods": {}}, "must be lists"),
        ({**LEAST, "why": 3}, "must be lists"),
        ({**LEAST, "predicted": 3}, "`predicted` of a plan must be an object"),
    ],
)
def test_a_malformed_plan_is_refused_in_words(data: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Plan.from_json(data)


def test_a_dial_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match="the dial of `copyspec`"):
        Plan.from_json({**LEAST, "methods": [{"name": "copyspec", "dial": 2}]})


def test_a_method_is_set_once_and_taken_off() -> None:
    plan = Plan(model="m").with_setting(Setting(name="a", dial=0.5))
    plan = plan.with_setting(Setting(name="b", dial=0.1)).with_setting(Setting(name="a", dial=0.9))
    assert [(s.name, s.dial) for s in plan.methods] == [("b", 0.1), ("a", 0.9)]
    assert plan.setting("a") == Setting(name="a", dial=0.9)
    assert plan.without("a").setting("a") is None
