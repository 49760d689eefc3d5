"""The benchmark suite `numerics`: where answers part."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

import torch

from engines.torch_rig import engine_of, requests
from rheostat.bench.journal import Journal
from rheostat.bench.numerics import first_difference, measured_numerics, parted
from rheostat.bench.prove import Written
from rheostat.engines.torch_load import forms_of_format
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.weights_cache import load_weights

PROMPTS = ("the cat and the hat", "is it a star", "zq", "on and on")


@pytest.fixture(scope="module")
def engines(tiny_gguf):
    loaded = load_weights(str(tiny_gguf))
    wide = {"float32": torch.float32, "gguf": torch.float32, "bfloat16": torch.bfloat16}
    return {name: engine_of(loaded, dtype=dtype) for name, dtype in wide.items()} | {
        "reproducible": engine_of(loaded, forms=forms_of_format("reproducible")),
        "layercast": engine_of(loaded, forms=Forms("cast", "cast")),
    }


def test_a_reproducible_format_never_parts_from_itself(engines, tmp_path):
    journal = Journal(tmp_path / "partial.json")
    found = measured_numerics(engines.__getitem__, requests(*PROMPTS), lambda _: None, journal)
    cells = {cell["dtype"]: cell for cell in found["cells"]}
    assert set(cells) == set(engines)
    assert cells["reproducible"]["alone_against_together"]["identical"] == len(PROMPTS)
    assert cells["float32"]["against_float32"]["identical"] == len(PROMPTS)
    assert cells["bfloat16"]["against_float32"]["identical"] < len(PROMPTS)


@pytest.mark.parametrize(
    ("one", "other", "at"), [([1, 2], [1, 2, 3], 2), ([5], [6], 0), ([1, 2, 3], [1, 9, 3], 1)]
)
def test_the_first_difference_is_where_two_answers_part(engines, one, other, at):
    assert first_difference(one, other) == at
    item = requests("zq")
    answers = [{"0": Written(tokens)} for tokens in (one, other)]
    found = parted(engines["float32"], item, *answers)
    assert found["first_parting"] == found["median_parting"] == at
    assert found["largest_margin"] >= 0
