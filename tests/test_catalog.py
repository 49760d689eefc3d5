import json
import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest

from rheostat import catalog
from rheostat.errors import MethodError, RheostatError
from rheostat.kernel.dial import checked_dial
from rheostat.kernel.method import Card, params_of, with_params
from rheostat.kernel.model_cost import ModelShape
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Depth, Installed, Layout

SHAPE = ModelShape(
    layers=4,
    width=8,
    heads=2,
    kv_heads=1,
    head_size=4,
    inner=16,
    vocabulary=300,
    context=128,
)
OFFERS = frozenset({"draft", "depth.static", "depth.parts", "depth.mlp", "signal.mlp_cosine"})
RANKING = {"ranking": [["attention", i] for i in (2, 1, 3, 0)]}


def plan(*settings):
    return Plan(model="tiny", methods=settings)


def setting(name, dial=1.0, **more):
    return Setting(name=name, dial=dial, **more)


def result(folder, file, suite, **verdicts):
    data = {
        "suite": suite,
        "verdicts": {n: {"beats_controls": b, "evidence": ""} for n, b in verdicts.items()},
    }
    (folder / file).write_text(json.dumps(data), encoding="utf-8")


def test_every_module_of_the_folder_is_a_method():
    assert {"copyspec", "fixed_lookup", "llm_drop", "ffn_skip"} <= set(catalog.methods())
    for name, found in catalog.methods().items():
        assert name == found.card.name == found.__module__.rsplit(".", 1)[-1]
        assert found.card.seam == found.__module__.split(".")[-2]


def test_reading_the_cards_loads_no_torch():
    code = (
        "import sys; from rheostat import catalog; catalog.listing(); "
        "assert not {'torch', 'scipy', 'gguf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", catalog.methods())
def test_default_parameters_survive_json(name):
    found = catalog.method(name)
    params = json.loads(json.dumps(params_of(found())))
    assert with_params(found, params) == found()


def test_a_misspelt_name_gets_the_near_one_as_a_hint():
    with pytest.raises(MethodError, match="no method `copyspek`") as caught:
        catalog.method("copyspek")
    assert "`copyspec`" in caught.value.hint


def test_a_name_like_no_other_gets_the_list_as_a_hint():
    with pytest.raises(MethodError) as caught:
        catalog.method("zzz")
    assert "llm_drop" in caught.value.hint


def test_an_empty_plan_installs_nothing():
    assert catalog.installed(plan(), SHAPE, ()) == Installed()


def test_a_plan_installs_one_decision_a_seam():
    made = catalog.installed(
        plan(setting("llm_drop", 0.5, fitted=RANKING), setting("copyspec", 0.5)), SHAPE, OFFERS
    )
    assert made.depth == Depth(Layout.full(4).without(attention=[2]))
    assert made.draft.cap == 12


def test_parameters_of_the_plan_are_used():
    made = catalog.installed(plan(setting("copyspec", params={"max_draft": "6"})), SHAPE, OFFERS)
    assert made.draft.cap == 6


def test_dial_zero_is_still_installed():
    made = catalog.installed(plan(setting("copyspec", 0.0)), SHAPE, OFFERS)
    assert made.draft.cap == 0


def test_two_deciders_on_one_seam_are_refused():
    both = plan(setting("random_depth"), setting("constant_depth"))
    with pytest.raises(MethodError, match="both decide on the seam `depth`") as caught:
        catalog.installed(both, SHAPE, OFFERS)
    assert "constant_depth=off" in caught.value.hint


def test_a_need_that_the_engine_does_not_serve_is_named():
    with pytest.raises(MethodError, match=r"needs `depth\.static`") as caught:
        catalog.installed(plan(setting("random_depth")), SHAPE, {"draft"})
    assert caught.value.hint == "this engine offers: `draft`"


def test_missing_fitted_numbers_are_refused_with_the_way_to_get_them():
    with pytest.raises(MethodError, match="no fitted numbers of `llm_drop`") as caught:
        catalog.installed(plan(setting("llm_drop")), SHAPE, OFFERS)
    assert "rheostat plan" in caught.value.hint


def test_an_unknown_parameter_is_refused():
    with pytest.raises(MethodError, match="no parameter `delta`"):
        catalog.installed(plan(setting("copyspec", params={"delta": 1})), SHAPE, OFFERS)


def test_a_dial_outside_its_range_is_refused_by_the_plan():
    with pytest.raises(MethodError, match="from 0 to 1"):
        setting("copyspec", 1.5)
    assert checked_dial(1, method="copyspec") == 1.0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "unproven"),
        ([("a", True)], "proven"),
        ([("a", False)], "unproven"),
        ([("a", True), ("a", True)], "proven"),
        ([("a", True), ("a", False)], "unproven"),
        ([("a", True), ("b", False)], "proven"),
    ],
)
def test_a_method_is_proven_by_a_suite_without_a_denial(tmp_path, files, expected):
    for i, (suite, beats) in enumerate(files):
        result(tmp_path, f"{i}.json", suite, copyspec=beats)
    assert catalog.status("copyspec", results=tmp_path) == expected


def test_a_control_is_never_proven(tmp_path):
    result(tmp_path, "a.json", "a", fixed_lookup=True)
    assert catalog.status("fixed_lookup", results=tmp_path) == "unproven"


def test_result_files_without_verdicts_say_nothing(tmp_path):
    (tmp_path / "speed.json").write_text('{"suite": "speed"}', encoding="utf-8")
    assert catalog.status("copyspec", results=tmp_path) == "unproven"


def test_a_damaged_result_file_is_named(tmp_path):
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(RheostatError, match=r"bad\.json"):
        catalog.status("copyspec", results=tmp_path)


def test_the_listing_is_plain_data_of_every_method(tmp_path):
    result(tmp_path, "a.json", "a", copyspec=True)
    records = {r["name"]: r for r in json.loads(json.dumps(catalog.listing(results=tmp_path)))}
    assert set(records) == set(catalog.methods())
    assert records["copyspec"] == {
        "name": "copyspec",
        "seam": "draft",
        "exactness": "distribution",
        "dial": True,
        "paper": "arXiv:2502.08923",
        "status": "proven",
        "needs": ["draft"],
    }


def test_a_module_must_hold_one_class_with_a_card():
    empty = ModuleType("empty")
    with pytest.raises(RheostatError, match="found 0"):
        catalog.method_in(empty)


@pytest.fixture
def entry_points(monkeypatch):
    """Install entry points into the group for one test."""

    def install(**points):
        made = [
            metadata.EntryPoint(name=n, value=v, group=catalog.GROUP) for n, v in points.items()
        ]
        monkeypatch.setattr(metadata, "entry_points", lambda group: made)
        catalog._found.cache_clear()

    yield install
    catalog._found.cache_clear()


class Foreign:
    """A method of another package."""

    card = Card(
        name="foreign",
        title="of another package",
        seam="draft",
        exactness="distribution",
        paper="none",
        needs=frozenset(),
    )


def test_a_method_of_another_package_is_found_by_its_entry_point(entry_points):
    entry_points(foreign=f"{__name__}:Foreign")
    assert catalog.method("foreign") is Foreign


def test_an_entry_point_must_be_named_like_its_card(entry_points):
    entry_points(other=f"{__name__}:Foreign")
    with pytest.raises(RheostatError, match="`other`"):
        catalog.methods()


def test_two_methods_of_one_name_are_refused(entry_points, monkeypatch):
    monkeypatch.setattr(Foreign, "card", catalog.method("copyspec").card)
    entry_points(copyspec=f"{__name__}:Foreign")
    with pytest.raises(RheostatError, match="two methods are called `copyspec`"):
        catalog.methods()
