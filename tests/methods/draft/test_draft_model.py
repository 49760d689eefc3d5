import pytest
from simulated_rows import SHAPE

from rheostat import catalog
from rheostat.engines.scripted import ScriptedEngine
from rheostat.errors import MethodError
from rheostat.kernel.plan import Plan, Setting
from rheostat.methods.draft.draft_model import DraftModel


def test_the_dial_caps_the_length_of_its_drafts():
    caps = [DraftModel(path="a.gguf").at(d, {}, SHAPE).models[0][1] for d in (0.0, 0.5, 1.0)]
    assert caps == [0, 4, 8]


def test_the_forward_is_the_file_that_the_user_names():
    setting = Setting(name="draft_model", dial=1.0, params={"path": "a.gguf"})
    offers = {"draft", "draft.model"}
    installed = catalog.installed(Plan(model="m", methods=(setting,)), SHAPE, offers)
    ((forward, _),) = installed.models.forwards
    assert (forward.model, forward.layout) == ("a.gguf", None)


def test_without_a_file_it_says_how_to_name_one():
    with pytest.raises(MethodError, match="needs a model") as caught:
        DraftModel().at(1.0, {}, SHAPE)
    assert "draft_model.path=FILE.gguf" in caught.value.hint


def test_an_engine_that_runs_no_forwards_for_drafts_refuses_it():
    setting = Setting(name="draft_model", dial=1.0, params={"path": "a.gguf"})
    with pytest.raises(MethodError, match=r"needs `draft\.model`"):
        catalog.installed(Plan(model="m", methods=(setting,)), SHAPE, ScriptedEngine.card.offers)


def test_a_draft_of_no_tokens_is_refused():
    with pytest.raises(MethodError, match="at least 1"):
        DraftModel(max_draft=0)
