"""Four-bit matrices: the file's own levels, multiplied as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from gguf import GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.outside_count import OutsideCount
from contract.tiny_engine import PRICES, PROMPTS
from engines.tiny_gguf import write_tiny_gguf
from rheostat.catalog import installed
from rheostat.engines.base import Request, Sampling
from rheostat.engines.cache_folder import cache_folder
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_level_ops import Levels, packed, shape_of, unpacked
from rheostat.engines.torch_levels import LevelMatrix, load_levels
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_matrix import MOST_ROWS, Forms, candidates
from rheostat.engines.torch_model import Llama
from rheostat.engines.torch_weights import fused_levels, fused_weights
from rheostat.engines.weights_cache import load_weights
from rheostat.errors import ModelError
from rheostat.kernel.cost import total
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Installed

if TYPE_CHECKING:
    from pathlib import Path

WIDE = candidates(torch.bfloat16)[-1]
FORMATS = [GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=FORMATS, ids=lambda kind: kind.name)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf", quantisation=request.param)


def random_levels(out: int, size: int, seed: int = 0) -> Levels:
    draw = torch.Generator().manual_seed(seed)
    return Levels(
        torch.randint(0, 16, (out, size), generator=draw, dtype=torch.uint8),
        (torch.rand(out, size // 32, generator=draw) / 8).half().float(),
        -torch.rand(out, size // 32, generator=draw).half().float(),
    )


@settings(max_examples=30, deadline=None)
@given(blocks=st.integers(1, 5), groups=st.integers(1, 5), seed=st.integers(0, 1000))
def test_what_is_packed_is_what_is_unpacked(blocks: int, groups: int, seed: int) -> None:
    matrix = random_levels(16 * blocks, 32 * groups, seed)
    held = packed(*matrix)
    assert shape_of(held) == matrix.levels.shape
    assert all(torch.equal(*pair) for pair in zip(unpacked(held), matrix, strict=True))


def test_levels_are_the_files_weights(path: Path) -> None:
    loaded = load_weights(str(path))
    held = load_levels(loaded)
    for layer in range(loaded.shape.layers):
        dense = fused_weights(loaded, layer, torch.float32)
        fused = fused_levels(held, layer)
        assert set(fused) == {"qkv", "out", "gate_up", "down"}
        for name, matrix in fused.items():
            assert torch.equal(unpacked(matrix).values(), dense[name]), name


def test_the_second_load_reads_the_cache_and_a_damaged_one_is_made_again(path: Path) -> None:
    loaded = load_weights(str(path))
    first = load_levels(loaded)
    (kept,) = (cache_folder() / "weights").glob("*-levels-*")
    written = kept.stat().st_mtime_ns
    load_levels(loaded)
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:100])
    again = load_levels(loaded)
    assert set(first) == set(again)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("border", [MOST_ROWS, 4, 0])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 33])
def test_a_product_is_that_of_the_weights_up_to_bfloat16(rows: int, border: int) -> None:
    matrix = random_levels(48, 64)
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(1))
    exact = x.double() @ matrix.values().double().t()
    y = LevelMatrix(packed(*matrix), Forms(level_rows=border, level_wide=WIDE))(x)
    assert (y.dtype, y.shape) == (torch.float32, (rows, 48))
    spread = x.abs().double() @ matrix.values().abs().double().t()
    assert ((y.double() - exact).abs() <= 4 * 2**-8 * spread).all()


def test_a_row_has_the_same_product_among_others() -> None:
    matrix = LevelMatrix(packed(*random_levels(64, 128)), Forms())
    x = torch.randn(20, 128, generator=torch.Generator().manual_seed(2))
    whole = matrix(x)
    assert all(torch.equal(matrix(x[i : i + 1])[0], whole[i]) for i in range(20))


def test_a_file_without_four_bits_is_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "wide.gguf")
    with pytest.raises(ModelError, match="in the four-bit formats") as error:
        load_torch(str(path), dtype="gguf", threads=1)
    assert "--dtype gguf" in error.value.hint


def test_the_engine_answers_from_the_files_own_weights(path: Path) -> None:
    own = load_torch(str(path), dtype="gguf", threads=1)
    wide = load_torch(str(path), dtype="float32", threads=1)
    assert (own.dtype, wide.dtype) == ("gguf", "float32")
    prompt, text = [5, 6, 7], [8, 9, 10, 11, 12]
    scores = [e.score(prompt, text, installed=Installed()) for e in (own, wide)]
    assert abs(scores[0].nats - scores[1].nats).max() < 0.05
    assert scores[0].cost.bytes < scores[1].cost.bytes


@pytest.mark.parametrize("border", [MOST_ROWS, 2])
def test_the_books_balance_with_four_bits_and_a_quick_head(path: Path, border: int) -> None:
    loaded = load_weights(str(path))
    forms = Forms(quick_rows=2, level_rows=border, level_wide=WIDE)
    model = Llama(loaded, dtype=torch.float32, forms=forms, levels=load_levels(loaded))
    engine = TorchEngine(loaded, model, Tokenizer.of(loaded), PRICES, dtype="gguf")
    plan = Plan(model=engine.model, methods=(Setting(name="suffix", dial=1.0),))
    decision = installed(plan, engine.shape, engine.card.offers)
    requests = [Request(id=text, prompt=text) for text in PROMPTS]
    for one in (Installed(), decision):
        with OutsideCount() as outside:
            outputs = list(engine.generate(requests, Sampling(max_new_tokens=24), installed=one))
        cost = total(o.cost for o in outputs)
        assert cost.flops == pytest.approx(outside.flops, rel=0.01)
        assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)
