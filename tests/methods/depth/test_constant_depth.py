import pytest
from dropped import dropped, shape_of
from hypothesis import given
from hypothesis import strategies as st

from rheostat.errors import MethodError
from rheostat.kernel.seams import Depth, Layout
from rheostat.methods.depth.constant_depth import ConstantDepth

SHAPE = shape_of(8)
UNITS = st.sampled_from(["attention", "mlp", "joint", "layer"])
ORDERS = st.sampled_from(["last", "first", "spread"])


def at(dial, **params):
    return ConstantDepth(**params).at(dial, {}, SHAPE)


@pytest.mark.parametrize(
    ("order", "layers"),
    [("last", {6, 7}), ("first", {0, 1}), ("spread", {2, 4})],
)
def test_the_order_decides_which_quarter_goes_at_half_the_dial(order, layers):
    assert dropped(at(0.5, order=order)) == {("attention", i) for i in layers}


def test_a_spread_is_even_at_dial_one_and_spares_the_first_layer():
    assert {layer for _, layer in dropped(at(1.0, order="spread"))} == {1, 2, 4, 6}


@given(unit=UNITS, order=ORDERS)
def test_dial_zero_is_the_full_model(unit, order):
    assert at(0.0, unit=unit, order=order) == Depth(Layout.full(8))


@given(unit=UNITS, order=ORDERS, layers=st.integers(1, 40))
def test_every_order_lists_every_unit_once(unit, order, layers):
    method = ConstantDepth(unit=unit, order=order, max_share=1.0)
    everything = method.at(1.0, {}, shape_of(layers)).layout
    assert any(everything.attention) == (unit == "mlp")
    assert any(everything.mlp) == (unit == "attention")


@given(unit=UNITS, order=ORDERS, dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_dial_drops_a_superset(unit, order, dials):
    low, high = (at(d, unit=unit, order=order) for d in sorted(dials))
    assert dropped(low) <= dropped(high)


@pytest.mark.parametrize("params", [{"unit": "head"}, {"max_share": 0}, {"order": "best"}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="constant_depth"):
        ConstantDepth(**params)
