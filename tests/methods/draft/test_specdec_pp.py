import pytest
from simulated_rows import SHAPE

from rheostat.errors import MethodError
from rheostat.kernel.method import params_of, with_params
from rheostat.kernel.policies.draft_stop import LookAhead, Threshold
from rheostat.kernel.seams import Layout
from rheostat.methods.draft.specdec_pp import SpecDecPP

HEAD = {"layer": 1, "head": "abc", "weight": 6.0, "accepted": 0.4, "examples": 10}


def source(dial=1.0, **params):
    method = SpecDecPP(**params)
    ((found, _),) = method.at(dial, method.fit({"acceptance": HEAD}), SHAPE).models
    return found


def test_it_drafts_by_the_exit_that_its_head_was_trained_for():
    found = source().forward
    assert (found.layout, found.head) == (Layout.full(2).within(0, 1), "abc")


def test_it_looks_ahead_unless_a_threshold_is_given():
    assert source().rule == LookAhead(weight=6.0)
    assert source(threshold=0.7).rule == Threshold(threshold=0.7, least=2)
    assert source(threshold=0.0, least=3).rule == Threshold(threshold=0.0, least=3)


def test_it_expects_at_first_what_the_head_was_trained_on():
    assert source().prior == (0.4, 0.4)


def test_the_dial_caps_the_length():
    method = SpecDecPP()
    caps = [method.at(d, method.fit({"acceptance": HEAD}), SHAPE).models[0][1] for d in (0, 0.5, 1)]
    assert caps == [0, 10, 20]


def test_without_a_head_it_says_how_to_train_one():
    with pytest.raises(MethodError, match="no acceptance head") as caught:
        SpecDecPP().fit({"redundancy": {}})
    assert "--acceptance" in caught.value.hint


def test_a_head_of_a_deeper_model_is_refused():
    method = SpecDecPP()
    with pytest.raises(MethodError, match="layer 9"):
        method.at(1.0, method.fit({"acceptance": HEAD | {"layer": 9}}), SHAPE)


@pytest.mark.parametrize("params", [{"threshold": 1.1}, {"least": 0}, {"max_draft": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="specdec_pp"):
        SpecDecPP(**params)


def test_parameters_survive_plain_data():
    method = SpecDecPP(threshold=0.3)
    assert with_params(SpecDecPP, params_of(method)) == method
    assert with_params(SpecDecPP, {"threshold": "0.7"}).threshold == 0.7
