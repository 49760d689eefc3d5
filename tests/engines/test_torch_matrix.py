"""All forms of a weight hold the same numbers."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from itertools import product

import torch

from rheostat.engines.torch_forms import NARROW_ROWS, choose
from rheostat.engines.torch_matrix import Forms, Matrix, candidates, laid_out, multiplied

FORMS = [(d, f) for d in (torch.float32, torch.bfloat16) for f in candidates(d)]
ROWS = [0, 1, 2, 5, 16, 33]


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize(("dtype", "form"), FORMS, ids=str)
@pytest.mark.parametrize("rows", ROWS)
def test_every_form_multiplies_alike(dtype, form, rows):
    weight, x = random(48, 32, dtype=dtype), random(rows, 32, dtype=dtype)
    y = multiplied(x, laid_out(weight, form), form)
    exact = x.double() @ weight.double().t()
    assert (y.dtype, y.shape) == (dtype, (rows, 48))
    assert torch.allclose(y.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize(("dtype", "form"), FORMS, ids=str)
def test_a_row_has_the_same_product_among_others(dtype, form):
    weight, x = random(48, 32, dtype=dtype), random(20, 32, dtype=dtype)
    held = laid_out(weight, form)
    together, alone = multiplied(x, held, form)[7:8], multiplied(x[7:8], held, form)
    assert torch.allclose(together, alone, rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_plain_weights_are_not_copied():
    weight = random(4, 4)
    assert laid_out(weight, "plain") is weight


@pytest.mark.parametrize(("narrow", "wide"), list(product(candidates(torch.float32), repeat=2)))
@pytest.mark.parametrize("rows", [1, 4, 5, 20])
def test_a_matrix_multiplies_alike_on_both_sides_of_its_border(narrow, wide, rows):
    weight, x = random(24, 16), random(rows, 16)
    matrix = Matrix(weight, Forms(narrow, wide, 4))
    assert torch.allclose(matrix(x), x @ weight.t(), atol=1e-5)


def test_strided_rows_are_multiplied_too():
    weight, x = random(24, 16), random(5, 40)[:, 3:19]
    for form in candidates(torch.float32):
        assert torch.allclose(
            multiplied(x, laid_out(weight, form), form), x @ weight.t(), atol=1e-5
        )


def test_forms_survive_json():
    forms = Forms("packed", "transposed", 8)
    assert Forms.from_json(forms.to_json()) == forms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_choice_is_among_the_forms_of_this_processor(dtype):
    forms = choose([random(48, 32, dtype=dtype), random(32, 48, dtype=dtype)])
    assert {forms.narrow, forms.wide} <= set(candidates(dtype))
    assert forms.narrow_rows in NARROW_ROWS
