"""Fused operations are torch's own: alone, in a model, and absent where they cannot be had."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.tiny_gguf import write_tiny_gguf
from engines.torch_rig import PRICES, full, outputs, tokens_of
from rheostat.engines import fused_build, torch_fused
from rheostat.engines.fused_build import fused_library
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_fused import FUSED_ROWS, FusedOps, fused_ops
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed, Llama
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.seams import Depth, Layout

BUILT = fused_library()
needs_compiler = pytest.mark.skipif(BUILT.library is None, reason=BUILT.reason or "built")
FORMATS = [
    (torch.float32, torch.float32),
    (torch.float32, torch.bfloat16),
    (torch.bfloat16, torch.bfloat16),
]


@pytest.fixture
def unbuilt(tmp_path, monkeypatch):
    """Nothing was compiled before, nor after."""
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))
    fused_library.cache_clear()
    fused_ops.cache_clear()
    yield monkeypatch
    fused_library.cache_clear()
    fused_ops.cache_clear()


@pytest.fixture(params=FORMATS, ids=str)
def ops(request):
    found = fused_ops(*request.param)
    assert found.reason == ""
    return found.ops


def drawn(seed, *shape, dtype, size=4.0):
    return (size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).to(dtype)


def near(found, wanted):
    relative = 1e-5 if found.dtype == torch.float32 else 2**-6
    torch.testing.assert_close(found.float(), wanted.float(), rtol=relative, atol=1e-4)


# the operations


@needs_compiler
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 9),
    width=st.sampled_from([8, 24, 576]),
    size=st.sampled_from([1e-6, 1.0, 1e4]),
    formats=st.sampled_from(FORMATS),
)
def test_a_norm_after_an_addition_is_torchs(n, width, size, formats):
    ops = fused_ops(*formats).ops
    x = drawn(1, n, width, dtype=ops.stream, size=size)
    update = drawn(2, n, width, dtype=ops.product, size=size)
    weight = drawn(3, width, dtype=ops.stream)
    stream, normed = ops.add_norm(x, update, weight, 1e-5)
    total = (x + update).to(ops.stream)
    assert torch.equal(stream, total)
    near(normed, F.rms_norm(total.float(), (width,), weight.float(), 1e-5))
    again, _ = ops.add_norm(x, None, weight, 1e-5)
    assert torch.equal(again, x)


@needs_compiler
@pytest.mark.parametrize(("n", "kv", "group"), [(1, 3, 3), (4, 1, 2), (7, 2, 1)])
def test_rotated_queries_and_keys_are_torchs(ops, n, kv, group):
    size, heads = 8, kv * group
    qkv = drawn(4, n, (heads + 2 * kv) * size, dtype=ops.product)
    turns = torch.polar(torch.ones(n, size // 2), drawn(5, n, size // 2, dtype=torch.float32))
    room = torch.empty(n, 2, kv, size, dtype=ops.stream)
    queries = ops.turn(qkv, turns, room, group)
    wide = torch.view_as_complex(qkv.float().view(n, -1, size // 2, 2)) * turns[:, None]
    turned = torch.view_as_real(wide).view(n, -1, size)
    near(queries[0], turned[:, :heads].transpose(0, 1).reshape(kv, group * n, size))
    near(room[:, 0], turned[:, heads:-kv])
    near(room[:, 1], qkv.view(n, -1, size)[:, -kv:])
    gathered = torch.empty(n, heads * size, dtype=ops.product)
    ops.gather(queries, gathered)
    near(gathered, turned[:, :heads].reshape(n, -1))


@needs_compiler
def test_a_gate_is_torchs_where_it_is_open_and_where_it_is_shut(ops):
    hidden = drawn(6, 5, 64, dtype=ops.product)
    hidden[0, :6] = torch.tensor([-1e4, -120.0, -88.5, 0.0, 88.5, 1e4])
    gate, up = hidden.float().chunk(2, dim=1)
    near(ops.gate(hidden), F.silu(gate) * up)


@needs_compiler
def test_what_is_no_number_stays_none(ops):
    x = drawn(7, 2, 16, dtype=ops.stream)
    x[1, 3] = float("nan")
    normed = ops.add_norm(x, None, torch.ones(16, dtype=ops.stream), 1e-5).normed
    assert normed[0].isfinite().all()
    assert normed[1].isnan().all()
    hidden = drawn(8, 1, 32, dtype=ops.product)
    hidden[0, 2] = float("nan")
    assert ops.gate(hidden).isnan().nonzero().tolist() == [[0, 2]]


# in a model


def models(loaded, dtype):
    forms = Forms()
    return [Llama(loaded, dtype=dtype, forms=forms, fused=fused) for fused in (True, False)]


def logits_of(model, feeds_of, depth):
    caches = [empty_cache(model, depth.layout, capacity=1) for _ in range(2)]
    parts = []
    for feeds in feeds_of:
        made = [Feed(caches[row], *feed) for row, feed in feeds]
        parts.append(model.forward(made, depth, logit_rows=None).logits)
    return torch.cat(parts)


PASSES = [
    [(0, ([5, 6, 7, 8, 9], -5)), (1, ([3, 4, 5], -3))],
    [(0, ([10], 0))],
    [(1, ([11, 12, 13, 14], 0, [-1, 0, 0, 2])), (0, ([11, 12], 1))],
]


@needs_compiler
@pytest.mark.parametrize("dropped", [(), (0,), (1, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_gives_the_same_logits_with_and_without(deep_loaded, dtype, dropped):
    fused, plain = models(deep_loaded, dtype)
    assert fused.fused_reason == ""
    whole = Layout.full(fused.shape.layers)
    for layout in (whole.without(attention=dropped), whole.without(mlp=dropped)):
        found, wanted = (logits_of(m, PASSES, Depth(layout)) for m in (fused, plain))
        near_enough = 1e-4 if dtype == torch.float32 else 0.25
        assert (found - wanted).abs().max() < near_enough


@needs_compiler
def test_a_forked_row_goes_on_as_the_whole(deep_loaded):
    fused, plain = models(deep_loaded, torch.float32)
    for model in (fused, plain):
        depth = full(model)
        cache = empty_cache(model, depth.layout, capacity=4)
        model.forward([Feed(cache, [5, 6, 7], -3)], depth, logit_rows=[])
        twin = cache.fork()
        both = [
            model.forward([Feed(c, [8], 0)], depth, logit_rows=None).logits for c in (cache, twin)
        ]
        assert torch.equal(*both)


@needs_compiler
def test_large_passes_are_torchs_own(deep_loaded):
    fused, plain = models(deep_loaded, torch.float32)
    many = [[(0, ([5 + i % 40 for i in range(FUSED_ROWS + 1)], 0))]]
    assert torch.equal(*(logits_of(m, many, full(m)) for m in (fused, plain)))


# where they cannot be had


@needs_compiler
def test_they_are_compiled_once(unbuilt):
    assert fused_library().library is not None
    fused_library.cache_clear()
    unbuilt.setattr(fused_build, "_compiled", None)  # calling it would fail
    assert fused_library().library is not None


@pytest.mark.parametrize(
    ("compiler", "said"), [("no-such-compiler", "there is no C compiler"), ("false", "`false`")]
)
def test_without_a_compiler_the_same_tokens_are_written(unbuilt, deep_loaded, compiler, said):
    unbuilt.setenv("CC", compiler)
    engines = []
    for fused in (True, False):
        model = Llama(deep_loaded, dtype=torch.float32, forms=Forms(), fused=fused)
        engines.append(TorchEngine(deep_loaded, model, Tokenizer.of(deep_loaded), PRICES))
    assert said in engines[0].llama.fused_reason
    made = [outputs(engine, ["the cat"], max_new_tokens=8) for engine in engines]
    assert tokens_of(made[0]) == tokens_of(made[1])


def test_they_can_be_switched_off(unbuilt):
    unbuilt.setenv("RHEOSTAT_FUSED", "0")
    assert fused_library()[:2] == (None, "RHEOSTAT_FUSED is 0")


@needs_compiler
def test_a_library_that_computes_something_else_is_not_used(unbuilt):
    right = FusedOps.gate
    for _ in range(2):  # nor when it was found wrong before
        unbuilt.setattr(
            torch_fused.FusedOps, "gate", lambda self, hidden: right(self, hidden) * 1.01
        )
        found = {fused_ops(*formats).reason for formats in FORMATS[:1]}
        assert found == {"the compiled operations do not agree with torch's"}
        fused_ops.cache_clear()
    unbuilt.setattr(torch_fused.FusedOps, "gate", right)
    assert fused_ops(*FORMATS[0]).reason == ""


@needs_compiler
def test_they_are_compared_once(unbuilt):
    compared = []
    right = torch_fused._agrees

    def counted(ops):
        compared.append(ops.product)
        return right(ops)

    unbuilt.setattr(torch_fused, "_agrees", counted)
    for _ in range(2):
        for formats in FORMATS[:2]:
            assert fused_ops(*formats).reason == ""
        fused_ops.cache_clear()
    assert compared == [torch.float32, torch.bfloat16]


@needs_compiler
def test_bfloat16_is_rounded_to_the_nearest_even(unbuilt):
    ops = fused_ops(torch.float32, torch.bfloat16).ops
    exact = [a + b for a, b in itertools.product([1.0, 1.0 + 2**-7], [0.0, 2**-8, -(2**-9), 2**-9])]
    x = torch.tensor([exact], dtype=torch.float32)
    gathered = torch.empty(x.shape, dtype=torch.bfloat16)
    ops.gather(x.view(1, 1, 1, -1), gathered)
    assert torch.equal(gathered, x.to(torch.bfloat16))


def test_a_load_says_once_why_it_is_slower(unbuilt, tmp_path):
    unbuilt.setenv("CC", "no-such-compiler")
    said = []
    load_torch(str(write_tiny_gguf(tmp_path / "tiny.gguf")), threads=1, progress=said.append)
    (slower,) = [line for line in said if "slower" in line]
    assert slower.endswith("there is no C compiler `no-such-compiler`")
