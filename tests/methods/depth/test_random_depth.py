import pytest
from dropped import dropped, shape_of
from hypothesis import given
from hypothesis import strategies as st

from rheostat.errors import MethodError
from rheostat.kernel.seams import Depth, Layout
from rheostat.methods.depth.llm_drop import LlmDrop
from rheostat.methods.depth.random_depth import RandomDepth

SHAPE = shape_of(10)
UNITS = st.sampled_from(["attention", "mlp", "joint", "layer"])


def at(dial, **params):
    return RandomDepth(**params).at(dial, {}, SHAPE)


@given(unit=UNITS)
def test_dial_zero_is_the_full_model(unit):
    assert at(0.0, unit=unit) == Depth(Layout.full(10))


@given(unit=UNITS, draw=st.integers(0, 99), dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_dial_drops_a_superset(unit, draw, dials):
    low, high = (at(d, unit=unit, draw=draw) for d in sorted(dials))
    assert dropped(low) <= dropped(high)


@given(dial=st.floats(0, 1))
def test_it_drops_as_many_units_as_the_method_that_it_controls(dial):
    ranking = {"ranking": [["attention", i] for i in range(10)]}
    assert len(dropped(at(dial))) == len(dropped(LlmDrop().at(dial, ranking, SHAPE)))


def test_a_draw_is_reproducible_and_draws_differ():
    assert at(1.0, draw=3) == at(1.0, draw=3)
    assert len({frozenset(dropped(at(1.0, draw=draw))) for draw in range(5)}) > 1


def test_over_many_draws_every_layer_is_dropped_equally_often():
    counts = [0] * 10
    for draw in range(400):
        for _, layer in dropped(at(1.0, draw=draw)):
            counts[layer] += 1
    assert all(abs(count - 200) < 50 for count in counts)  # 5 standard deviations


@pytest.mark.parametrize("params", [{"unit": "head"}, {"max_share": 2.0}, {"draw": -1}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="random_depth"):
        RandomDepth(**params)
