"""Pages that are given back: the numbers stay, and so does all other memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rheostat.engines.mapped_pages import give_back, place_of


def resident(what="RssFile"):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


@pytest.fixture
def mapped(tmp_path):
    save_file({"a": torch.arange(4e6), "b": torch.arange(4e6) + 1}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in ("a", "b")}


def test_numbers_are_read_again(mapped):
    before = {name: tensor.sum() for name, tensor in mapped.items()}
    give_back(mapped.values())
    assert {name: tensor.sum() for name, tensor in mapped.items()} == before


def test_memory_that_is_no_files_is_left_alone(mapped):
    own = torch.arange(4e6)
    views = (own[5:], own.view(2, -1).T, mapped["a"][3:])
    give_back([own, *views])
    assert torch.equal(own, torch.arange(4e6))
    assert torch.equal(mapped["a"], own)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says how much")
def test_the_memory_is_given_back(mapped):
    assert float(mapped["a"].sum()) > 0
    before = resident()
    give_back([mapped["a"]])
    assert before - resident() > 12e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says how much")
def test_pages_between_neighbours_are_given_back(tmp_path):
    parts = {f"p{i:04}": torch.full((100,), float(i)) for i in range(2000)}
    save_file(parts, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        tensors = [file.get_tensor(name) for name in parts]
    assert sum(float(tensor[0]) for tensor in tensors) == sum(range(2000))
    before = resident()
    give_back(tensors)
    assert before - resident() > 0.7e6
    assert [float(tensor[-1]) for tensor in tensors] == list(map(float, range(2000)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps are Linux's")
def test_a_tensor_is_found_in_its_file(mapped, tmp_path):
    place = place_of(mapped["b"])
    raw = (tmp_path / "w.safetensors").read_bytes()[place.offset :][: 4 * len(mapped["b"])]
    assert torch.equal(torch.frombuffer(bytearray(raw), dtype=torch.float32), mapped["b"])
    assert place_of(mapped["b"].clone()) is None
    assert place_of(mapped["b"][::2]) is None
