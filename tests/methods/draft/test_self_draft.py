import pytest
from simulated_rows import SHAPE

from rheostat.errors import MethodError
from rheostat.kernel.method import params_of, with_params
from rheostat.kernel.seams import Layout
from rheostat.methods.draft.self_draft import SelfDraft, exit_layer

PROFILE = {"redundancy": {"ranking": {"attention": [1, 0], "layer": [0, 1]}}}


def forward(fitted, dial=1.0, **params):
    ((found, cap),) = SelfDraft(**params).at(dial, fitted, SHAPE).models
    return found.forward, cap


def test_an_early_exit_runs_the_layers_below_it():
    assert forward({"unit": "exit"})[0].layout == Layout.full(2).within(0, 1)


@pytest.mark.parametrize(("kept", "layer"), [(0.01, 1), (0.2, 6), (0.5, 15), (0.99, 30)])
def test_a_share_of_the_layers_lies_below_the_exit(kept, layer):
    assert exit_layer(kept, 30) == layer


@pytest.mark.parametrize(
    ("unit", "layout"),
    [
        ("attention", Layout.full(2).without(attention=[1])),
        ("layer", Layout.full(2).without(attention=[0], mlp=[0])),
    ],
)
def test_a_set_leaves_out_the_most_redundant_units_of_the_profile(unit, layout):
    method = SelfDraft(unit=unit)
    assert forward(method.fit(PROFILE), unit=unit)[0].layout == layout


def test_the_dial_caps_the_length_alone():
    drafts = [forward({"unit": "exit"}, dial) for dial in (0.0, 0.25, 0.5, 1.0)]
    assert [cap for _, cap in drafts] == [0, 2, 4, 8]
    assert len({found for found, _ in drafts}) == 1


def test_a_set_without_a_ranking_is_refused():
    with pytest.raises(MethodError, match="ranking"):
        SelfDraft(unit="mlp").fit(PROFILE)
    with pytest.raises(MethodError, match="ranking"):
        SelfDraft(unit="mlp").at(1.0, {"ranking": [["mlp", 0]]}, SHAPE)


def test_the_kept_part_shrinks_with_its_share():
    method = SelfDraft(unit="layer")
    fitted = method.fit(PROFILE)
    few, most = (forward(fitted, unit="layer", kept=kept)[0].layout for kept in (0.5, 0.9))
    assert sum(few.mlp) < sum(most.mlp) == 2


@pytest.mark.parametrize(
    "params", [{"unit": "head"}, {"kept": 0.0}, {"kept": 1.0}, {"max_draft": 0}]
)
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="self_draft"):
        SelfDraft(**params)


def test_parameters_survive_plain_data():
    method = SelfDraft(unit="layer", kept=0.8)
    assert with_params(SelfDraft, params_of(method)) == method
