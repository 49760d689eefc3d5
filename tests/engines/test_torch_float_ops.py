"""Our own product in float32: right for every shape, a row's bits the same beside any others."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.engines.torch_float_ops import PANEL, float_ops, float_product, in_panels
from rheostat.engines.torch_forms import ALONE, NARROW_ROWS, WIDE_ROWS, chosen
from rheostat.engines.torch_matrix import Forms, Matrix
from rheostat.kernel.policies.all_or_one import AllOrOne

DTYPES = [torch.float32, torch.bfloat16]
PAIRS = [*((held, torch.float32) for held in DTYPES), (torch.bfloat16, torch.bfloat16)]
"""Formats of the weights and of what is multiplied by them."""
WIDTHS = (*NARROW_ROWS, *WIDE_ROWS)


@pytest.fixture(autouse=True)
def _compiled():
    if float_ops().library is None:
        pytest.skip(float_ops().reason)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 20) | st.sampled_from([127, 128, 129, 270]),
    out=st.integers(1, 3 * PANEL + 1),
    size=st.integers(1, 70) | st.sampled_from([511, 512, 1100]),
    pair=st.sampled_from(PAIRS),
)
def test_the_product_is_right_for_every_shape(n, out, size, pair):
    dtype, given = pair
    weight, x = drawn(out, size), drawn(n, size, seed=1).to(given)
    true = weight.to(dtype).double().t()
    found = float_product(x, in_panels(weight, dtype))
    assert (found.shape, found.dtype) == ((n, out), torch.float32)
    bound = 1e-6 * size**0.5 * (x.abs().double() @ true.abs()) + 1e-30
    assert ((found - x.double() @ true).abs() <= bound).all()


@pytest.mark.parametrize(("dtype", "given"), PAIRS, ids=str)
@pytest.mark.parametrize("size", [96, 1300])
def test_a_row_has_the_same_bits_beside_any_neighbours(dtype, given, size):
    held, x = in_panels(drawn(100, size), dtype), drawn(150, size, seed=1).to(given)
    together = float_product(x, held)
    for rows in (slice(0, 1), slice(3, 5), slice(70, 77), slice(100, 109), slice(20, 150)):
        assert torch.equal(float_product(x[rows], held), together[rows])


@pytest.mark.parametrize(("dtype", "given"), PAIRS, ids=str)
def test_the_number_of_threads_changes_no_bit(dtype, given, monkeypatch):
    held, x = in_panels(drawn(250, 64), dtype), drawn(33, 64, seed=1).to(given)
    alone, before = float_product(x, held), torch.get_num_threads()
    monkeypatch.setattr(AllOrOne, "all", lambda choice: True)
    try:
        for count in (2, 3, 9):
            torch.set_num_threads(count)
            assert torch.equal(float_product(x, held), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("dtype", "given"), PAIRS, ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_stays_in_its_row(dtype, given, bad):
    held, x = in_panels(drawn(60, 33), dtype), drawn(5, 33, seed=1).to(given)
    x[2, 32] = bad
    found = float_product(x, held).isfinite()
    assert not found[2].any()
    assert found[[0, 1, 3, 4]].all()


def test_weights_that_are_read_by_parts_are_laid_out_alike():
    weight = drawn(150 * PANEL + 7, 8)
    held, x = in_panels(weight, torch.float32), drawn(2, 8, seed=1)
    assert torch.allclose(float_product(x, held), x @ weight.t(), atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", ["plain", "own", "cast_own"])
def test_one_form_for_all_widths_is_held_once_in_the_bytes_that_are_told(dtype, form):
    weight = drawn(4 * PANEL, 64).to(dtype)
    matrix = Matrix(weight, Forms(form, form))
    held = {id(t): t for t in vars(matrix).values() if isinstance(t, torch.Tensor)}.values()
    size = sum(t.untyped_storage().nbytes() for t in held)
    assert (
        size == matrix.weight_bytes(1) * weight.numel() == matrix.weight_bytes(99) * weight.numel()
    )


def times(**forms):
    return {(n, r): s for n, seconds in forms.items() for r, s in zip(WIDTHS, seconds, strict=True)}


def test_a_form_that_is_nearly_the_fastest_everywhere_is_held_alone():
    near = 0.99 * ALONE
    found = chosen(
        times(plain=[1, 1, 9, 9, 9, 9], own=[near] * 6, packed=[9, 9, 1, 1, 1, 1]),
    )
    assert (found.narrow, found.wide) == ("own", "own")


def test_two_forms_are_held_where_each_one_alone_is_slow_at_some_width():
    found = chosen(
        times(plain=[1, 1, 2, 9, 9, 9], own=[2, 2, 2, 3, 3, 3], packed=[9, 4, 3, 1, 1, 1])
    )
    assert found == Forms("plain", "packed", 4)
