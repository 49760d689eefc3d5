"""Choices through a head in fewer bits are those of the whole product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.engines import torch_scan_head
from rheostat.engines.fused_build import fused_library
from rheostat.engines.torch_head import Head
from rheostat.engines.torch_matrix import Forms, candidates
from rheostat.engines.torch_quick_head import QuickHead
from rheostat.engines.torch_scan_head import GroupedHead, ScanHead

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, VOCABULARY = 64, 512
HALF = pytest.mark.skipif(
    "packed" not in candidates(torch.bfloat16), reason="this processor multiplies no bfloat16"
)
OWN = pytest.mark.skipif(fused_library().library is None, reason="there is no compiler")
WAYS = {
    "whole": Forms(),
    "eight": Forms(quick_rows=99),
    "own": Forms(quick_rows=99, quick_own=True),
    "half": Forms(half_rows=99),
}
QUICK = ["eight", pytest.param("own", marks=OWN), pytest.param("half", marks=HALF)]


def head(weight: torch.Tensor, way: str, *, dtype: torch.dtype = torch.float32) -> Head:
    return Head(weight, dtype, WAYS[way])


def drawn(seed: int, rows: int, size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("way", QUICK)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    nearness=st.sampled_from([1.0, 0.1, 0.01, 1e-3]),
    size=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_the_choice_is_that_of_the_whole_product(
    way: str, seed: int, rows: int, nearness: float, size: float
) -> None:
    """Rows of the head lie as near to each other as `nearness`, so that logits are near ties."""
    weight = drawn(seed, 1) + nearness * drawn(seed + 1, VOCABULARY)
    x = drawn(seed + 2, rows, size)
    exact = x.double() @ weight.double().t()
    chosen = head(weight, way).choices(x)[0]
    best = exact.amax(dim=1)
    lost = best - exact[torch.arange(rows), chosen]
    assert (lost <= 1e-5 * best.abs().clamp_min(1.0)).all()


@pytest.mark.parametrize("bits", [8, pytest.param(None, marks=OWN), pytest.param(16, marks=HALF)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bounds_hold_for_every_row(dtype: torch.dtype, bits: int | None) -> None:
    weight, x = drawn(1, VOCABULARY).to(dtype).float(), drawn(2, 40).to(dtype).float()
    exact = x.double() @ weight.double().t()
    quick = ScanHead(weight, dtype) if bits is None else QuickHead(weight, dtype, bits=bits)
    found = quick.candidates(x)
    pairs = set(zip(found.rows.tolist(), found.tokens.tolist(), strict=True))
    assert found.open == []
    assert pairs >= set(enumerate(exact.argmax(dim=1).tolist()))
    assert len(pairs) < 40 * VOCABULARY / 4


@pytest.mark.parametrize("way", QUICK)
def test_of_equal_logits_the_first_is_chosen(way: str) -> None:
    weight = drawn(3, VOCABULARY)
    weight[100] = weight[7] = weight[300] = 3 * weight[5]
    chosen = head(weight, way).choices(weight[5:6])[0]
    assert chosen.tolist() == [7]


@pytest.mark.parametrize("way", ["whole", *QUICK])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_that_is_no_number_has_no_choice(way: str, bad: float) -> None:
    weight, x = drawn(4, VOCABULARY), drawn(5, 3)
    x[1, 2] = bad
    chosen = head(weight, way).choices(x)[0].tolist()
    assert chosen[1] == -1
    assert min(chosen[0], chosen[2]) >= 0


@pytest.mark.parametrize("way", ["whole", *QUICK])
def test_a_damaged_head_has_no_choice(way: str) -> None:
    weight = drawn(6, VOCABULARY)
    weight[9, 9] = float("nan")
    assert head(weight, way).choices(drawn(7, 1))[0].tolist() == [-1]


@pytest.mark.parametrize("way", QUICK)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_ways_choose_alike(dtype: torch.dtype, way: str) -> None:
    weight = drawn(8, VOCABULARY)
    x = (5 * weight[:50]).to(dtype)
    quick, whole = (head(weight, w, dtype=dtype).choices(x)[0] for w in (way, "whole"))
    assert torch.equal(quick, whole)


@pytest.mark.parametrize("way", QUICK)
def test_a_row_is_chosen_for_as_among_others(way: str) -> None:
    weight, x = drawn(9, VOCABULARY), drawn(10, 20)
    own = head(weight, way)
    together = own.choices(x)[0].tolist()
    assert together == [int(own.choices(row[None])[0]) for row in x]


@OWN
def test_a_head_of_eight_bits_is_scanned_as_it_is() -> None:
    levels = torch.randint(
        -127, 128, (VOCABULARY, WIDTH), generator=torch.Generator().manual_seed(6)
    )
    levels[:, ::32] = 127  # as in Q8_0, where the largest weight of a group has the last level
    scale = drawn(7, VOCABULARY)[:, : WIDTH // 32].abs().clamp_min(0.01).half().float()
    weight = levels * scale.repeat_interleave(32, dim=1)
    assert torch.equal(GroupedHead.of(weight).values(), weight)
    x = drawn(8, 50)
    found = ScanHead(weight, torch.float32).candidates(x)
    assert len(found.tokens) < 60
    assert {*enumerate((x @ weight.t()).argmax(dim=1).tolist())} <= {
        *zip(found.rows.tolist(), found.tokens.tolist(), strict=True)
    }


@OWN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_that_was_kept_is_the_one_that_was_made(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, x = drawn(11, VOCABULARY), drawn(12, 6)
    path = tmp_path / "head.safetensors"
    made, first = ScanHead(weight, dtype), ScanHead(weight, dtype, path)
    with monkeypatch.context() as patched:
        patched.setattr(torch_scan_head, "_in_eight_bits", lambda *_: pytest.fail("made again"))
        again = ScanHead(weight, dtype, path)
    path.write_bytes(path.read_bytes()[:-9])
    mended = ScanHead(weight, dtype, path)
    wanted = made.candidates(x)
    for head in (first, again, mended):
        found = head.candidates(x)
        assert torch.equal(found.rows, wanted.rows)
        assert torch.equal(found.tokens, wanted.tokens)
        assert torch.equal(head._packed, made._packed)


@OWN
def test_a_damaged_head_that_was_kept_has_no_choice(tmp_path: Path) -> None:
    weight = drawn(6, VOCABULARY)
    weight[9, 9] = float("nan")
    path = tmp_path / "head.safetensors"
    for _ in range(2):
        assert Head(weight, torch.float32, WAYS["own"], path).choices(drawn(7, 1))[0] == -1
    assert path.exists()
