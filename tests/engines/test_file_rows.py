"""Rows read from their file are those of the matrix, bit by bit, and nothing else is held."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engines.torch_rig import llama_of, read
from rheostat.engines.file_rows import FileRows
from rheostat.engines.mapped_pages import place_of
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_scan_head import ScanHead, scan_fits
from rheostat.errors import ModelError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps are Linux's")
ROWS, WIDTH = 40_000, 96
IDS = [7, ROWS - 1, 0, 7, 123]


def resident(what="RssFile"):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=str)
def matrix(request):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, WIDTH, generator=draw).to(request.param)


@pytest.fixture
def path(matrix, tmp_path):
    save_file({"before": torch.arange(5.0), "m": matrix}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture
def mapped(path):
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("m")


def test_a_file_that_is_mapped_many_times_is_read_at_the_right_place(tmp_path):
    matrix = torch.arange(50 * 32.0).view(50, 32)
    save_file({"before": torch.zeros(4096), "m": matrix}, tmp_path / "w.safetensors")
    held = []
    for _ in range(60):  # some lie right behind one another
        with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
            held.append(file.get_tensor("m"))
    assert all(torch.equal(FileRows(own)(range(50)), matrix) for own in held)


def test_rows_are_those_of_the_matrix(matrix, mapped):
    for rows in (FileRows(matrix), FileRows(mapped)):
        assert torch.equal(rows(IDS), matrix[IDS])
        assert torch.equal(rows(torch.tensor(IDS)), matrix[IDS])
        assert torch.equal(rows.block(30, 77), matrix[30:77])
        assert rows([]).shape == (0, WIDTH)


@linux
def test_nothing_else_is_held(mapped):
    rows = FileRows(mapped)
    before = resident()
    rows(range(0, ROWS, 97))
    assert resident() - before < 1e6


@linux
def test_a_file_that_took_the_name_is_not_read(matrix, mapped, path):
    path.replace(path.with_name("old"))
    save_file({"m": torch.zeros_like(matrix)}, path)
    assert torch.equal(FileRows(mapped)(IDS), matrix[IDS])


@linux
@pytest.mark.parametrize("matrix", [torch.float32], indirect=True)
def test_a_file_that_was_cut_short_is_said(mapped, path):
    rows = FileRows(mapped)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ModelError, match="cut short"):
        rows(IDS)


def test_an_id_beyond_the_rows_is_refused(matrix, mapped):
    for rows in (FileRows(matrix), FileRows(mapped)):
        for beyond in (-1, ROWS):
            with pytest.raises(IndexError):
                rows([beyond])


def in_memory(loaded):
    return replace(loaded, tensors={name: t.clone() for name, t in loaded.tensors.items()})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("forms", [Forms(), Forms(quick_rows=8)], ids=["whole", "quick"])
def test_a_model_is_the_same_from_its_file_and_from_memory(tiny_loaded, dtype, forms):
    other = in_memory(tiny_loaded)
    assert sys.platform != "linux" or place_of(tiny_loaded.tensors["embed.weight"])
    assert place_of(other.tensors["embed.weight"]) is None
    tokens = list(range(40, 60))
    logits = [
        read(llama_of(loaded, dtype=dtype, forms=forms), tokens) for loaded in (tiny_loaded, other)
    ]
    assert torch.equal(*logits)


@pytest.mark.parametrize("matrix", [torch.float32], indirect=True)
def test_a_head_is_scanned_the_same_from_its_file_and_from_memory(matrix, mapped):
    if not scan_fits(matrix):
        pytest.skip("there is no compiled scan here")
    x = 3 * matrix[IDS]
    heads = [ScanHead(weight, torch.float32) for weight in (matrix, mapped)]
    assert torch.equal(heads[0]._packed, heads[1]._packed)
    assert torch.equal(heads[0].candidates(x).tokens, heads[1].candidates(x).tokens)
