from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat import catalog
from rheostat.engines.load import load_engine
from rheostat.engines.machine import machine
from rheostat.errors import MethodError, ModelError, PlanError, UserError
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.settings import (
    ELSEWHERE,
    Changes,
    changed,
    check_plan,
    parse_changes,
    plan_of,
    ready,
)
from stages.scripted_runs import write_inputs

COPYSPEC = Setting(name="copyspec", dial=0.5)
DROP = Setting(name="llm_drop", dial=0.2, fitted={"ranking": [["attention", 1]]})
CLAIMS = {"predicted": {"price_ratio": 0.5}, "measured": {"loss": 0.0}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    spec, _ = write_inputs(tmp_path_factory.mktemp("spec"))
    return load_engine(f"scripted:{spec}")


def test_a_set_option_sets_and_removes_methods():
    plan = Plan(model="m", methods=(COPYSPEC, DROP))
    made = changed(plan, parse_changes(["copyspec=0.75", "llm_drop=off"], []))
    assert made.methods == (Setting(name="copyspec", dial=0.75),)


@given(dial=st.floats(min_value=0, max_value=1))
def test_every_dial_from_0_to_1_is_kept_as_it_is_written(dial):
    assert parse_changes([f"copyspec={dial!r}"], []).dials == {"copyspec": dial}


def test_a_changed_dial_keeps_parameters_and_fitted_numbers():
    setting = Setting(name="llm_drop", dial=0.2, params={"unit": "mlp"}, fitted={"ranking": [1]})
    made = changed(Plan(model="m", methods=(setting,)), parse_changes(["llm_drop=0.4"], []))
    assert made.methods == (
        Setting(name="llm_drop", dial=0.4, params={"unit": "mlp"}, fitted={"ranking": [1]}),
    )


def test_a_parameter_gets_its_type_and_drops_what_was_fitted_without_it():
    plan = Plan(model="m", methods=(DROP,))
    made = changed(plan, parse_changes([], ["llm_drop.max_share=0.25"]))
    assert made.methods == (Setting(name="llm_drop", dial=0.2, params={"max_share": 0.25}),)


def test_a_parameter_that_is_already_so_keeps_what_was_fitted():
    setting = Setting(name="llm_drop", dial=0.2, params={"unit": "mlp"}, fitted={"ranking": [1]})
    plan = Plan(model="m", methods=(setting,), **CLAIMS)
    assert changed(plan, parse_changes([], ["llm_drop.unit=mlp"])) == plan


def test_a_plan_changed_by_hand_claims_nothing():
    plan = Plan(model="m", methods=(COPYSPEC,), certificate={"loss": 0.1}, why=("cheap",), **CLAIMS)
    made = changed(plan, parse_changes(["copyspec=1"], []))
    assert (made.predicted, made.measured, made.certificate) == ({}, {}, None)
    assert "by hand" in made.why[0]
    assert changed(plan, Changes()) == plan


@pytest.mark.parametrize(
    "text", ["copyspec", "copyspec=", "=1", "copyspec=high", "copyspec=-0.1", "copyspec=nan"]
)
def test_a_malformed_dial_is_refused_with_a_hint(text):
    with pytest.raises(MethodError) as caught:
        parse_changes([text], [])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("params", "found"),
    [
        (["copyspec.gamma"], "METHOD.FIELD=VALUE"),
        (["gamma=4"], "METHOD.FIELD=VALUE"),
        (["copyspec.gama=4"], "no parameter `gama`"),
        (["copyspec.gamma=four"], "must be of type int"),
        (["fixed_lookup.length=2"], "not switched on"),
        (["nope.x=1"], "no method `nope`"),
    ],
)
def test_a_bad_parameter_is_named(params, found):
    with pytest.raises(MethodError, match=found):
        changed(Plan(model="m", methods=(COPYSPEC,)), parse_changes([], params))


def test_base_is_the_plan_without_methods():
    assert plan_of("base:smollm2") == Plan(model="smollm2")
    assert plan_of("base:smollm2", dtype="bfloat16") == Plan(model="smollm2", dtype="bfloat16")


def test_a_plan_comes_back_from_its_file(tmp_path):
    plan = Plan(model="m", methods=(DROP,), **CLAIMS)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    assert plan_of(str(tmp_path / "plan.json")) == plan


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "there is no plan"),
        ("{", "not JSON"),
        ("[]", "not a plan"),
        ('{"version": 9, "model": "m"}', "version `9`"),
        ('{"version": 1, "model": "m", "methods": [{"name": "copyspec", "dial": 2}]}', "from 0 to"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_by_its_name(tmp_path, text, found):
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PlanError, match=found) as caught:
        plan_of(str(path))
    assert "plan.json" in caught.value.message
    assert caught.value.hint


def test_a_ready_plan_names_the_model_the_machine_and_the_format(engine):
    plan = ready(Plan(model=engine.model), engine)
    assert (plan.digest, plan.machine, plan.dtype) == (engine.digest, machine().name, "float64")
    assert ready(plan, engine) == plan


def test_a_plan_of_another_model_is_refused(engine):
    for plan in (Plan(model=engine.model, digest="abc"), Plan(model="smollm2")):
        with pytest.raises(PlanError, match="for another model"):
            check_plan(plan, engine)


def test_a_plan_of_another_machine_runs_with_a_notice(engine):
    said = []
    ready(Plan(model=engine.model, machine="elsewhere"), engine, notice=said.append)
    ready(Plan(model=engine.model, machine=machine().name), engine, notice=said.append)
    assert said == [ELSEWHERE]


def test_a_method_beyond_the_engine_is_refused_before_it_is_fitted(engine):
    with pytest.raises(MethodError, match=r"needs `depth\.static`"):
        ready(Plan(model=engine.model, methods=(Setting(name="llm_drop", dial=1),)), engine)


def test_two_methods_of_one_seam_are_refused(engine):
    methods = (COPYSPEC, Setting(name="fixed_lookup", dial=1))
    with pytest.raises(MethodError, match="both decide"):
        ready(Plan(model=engine.model, methods=methods), engine)


@pytest.mark.parametrize("name", ["replay:s", "replay:a/b.zst"])
def test_a_recording_is_no_engine_and_its_command_is_named(name):
    with pytest.raises(ModelError, match="holds recorded samples") as caught:
        load_engine(name)
    assert "rheostat solve" in caught.value.hint


@pytest.mark.parametrize("dtype", ["float16", "int3", ""])
def test_an_unknown_dtype_is_refused(engine, dtype):
    with pytest.raises(UserError, match="no dtype"):
        load_engine(engine.model, dtype=dtype)


def test_an_empty_name_is_no_model():
    with pytest.raises(ModelError, match="empty"):
        load_engine(" ")


@pytest.fixture
def tiny(tiny_gguf):
    pytest.importorskip("torch", reason="needs the `torch` extra")
    from contract.tiny_engine import tiny_engine

    return tiny_engine(tiny_gguf)


def test_a_method_to_be_fitted_needs_a_profile(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path))
    plan = Plan(model=tiny.model, methods=(Setting(name="llm_drop", dial=0.5),))
    with pytest.raises(MethodError, match="has to be fitted") as caught:
        ready(plan, tiny)
    assert "rheostat profile" in caught.value.hint


def test_a_method_is_fitted_to_the_cached_profile(tiny, monkeypatch, tmp_path):
    from contract.tiny_engine import profile_of
    from rheostat.stages import profile

    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path))
    measured = {"version": profile.VERSION, **profile_of(tiny)}
    path = profile._path(tiny)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(measured))
    setting = ready(
        Plan(model=tiny.model, methods=(Setting(name="llm_drop", dial=0.5),)), tiny
    ).setting("llm_drop")
    assert setting.fitted == catalog.method("llm_drop")().fit(measured)


def test_a_plan_of_another_number_format_is_refused(tiny):
    with pytest.raises(PlanError, match="for dtype `bfloat16`"):
        check_plan(Plan(model=tiny.model, dtype="bfloat16"), tiny)
