"""Our own four-bit product, and all layers in one call, are the weights' own results."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from gguf import GGMLQuantizationType

from engines.tiny_gguf import write_tiny_gguf
from engines.torch_rig import PRICES, ToyDrafter, full, outputs, tokens_of
from rheostat.engines import fused_build
from rheostat.engines.fused_build import fused_library
from rheostat.engines.machine import instruction_sets
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_fused import FUSED_ROWS, fused_ops
from rheostat.engines.torch_level_ops import Levels, level_ops, packed, product
from rheostat.engines.torch_levels import LevelMatrix, load_levels
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed, Llama
from rheostat.engines.torch_prices import empty_cache
from rheostat.engines.torch_scan_head import ScanHead
from rheostat.engines.weights_cache import load_weights
from rheostat.kernel.model_cost import Work
from rheostat.kernel.policies.all_or_one import AllOrOne
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.kernel.trace import Trace
from rheostat.methods.cache.sink_window import SinkWindow

BUILT = fused_library()
needs_compiler = pytest.mark.skipif(BUILT.library is None, reason=BUILT.reason or "built")
OWN = Forms(level_own=True)
KINDS = [GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1]


@pytest.fixture
def unbuilt(tmp_path, monkeypatch):
    """Nothing was compiled before, nor after."""
    caches = (fused_library, fused_ops, level_ops)
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))
    for one in caches:
        one.cache_clear()
    yield monkeypatch
    for one in caches:
        one.cache_clear()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def loaded(request, tmp_path_factory, engines_cache):
    """A tiny model in four bits, with more layers than two."""
    path = tmp_path_factory.mktemp("four") / "four.gguf"
    sizes = {"layers": 4, "width": 96, "heads": 6, "kv_heads": 2, "inner": 160}
    return load_weights(str(write_tiny_gguf(path, **sizes, quantisation=request.param)))


def drawn_levels(out, size, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scale, low = torch.randn(2, out, size // 32, generator=draw).half().float()
    levels = torch.randint(0, 16, (out, size), generator=draw, dtype=torch.uint8)
    return Levels(levels, scale, low)


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def models(loaded):
    """With all layers in one call, and the same weights in float32."""
    own = Llama(loaded, dtype=torch.float32, forms=OWN, levels=load_levels(loaded))
    return own, Llama(loaded, dtype=torch.float32, forms=Forms(), fused=False)


# the product


@needs_compiler
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("rows", [1, 2, 5, 33, 150])
def test_a_product_loses_the_sixteenth_bit_of_activations_alone(rows, size):
    matrix, x = drawn_levels(48, 96), size * drawn(rows, 96)
    exact = x.double() @ matrix.values().double().t()
    found = LevelMatrix(packed(*matrix), OWN)(x)
    largest = x.view(rows, 3, 32).abs().amax(dim=2).repeat_interleave(32, dim=1).double()
    bound = largest @ matrix.values().abs().double().t()
    assert ((found - exact).abs() <= 2**-15 * bound).all()


@needs_compiler
def test_a_row_has_the_same_product_among_others():
    matrix, x = LevelMatrix(packed(*drawn_levels(64, 128)), OWN), drawn(70, 128)
    whole = matrix(x)
    assert all(torch.equal(matrix(x[i : i + 1])[0], whole[i]) for i in range(70))
    assert torch.equal(matrix(x[3:12]), whole[3:12])


@needs_compiler
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none(bad):
    x = drawn(3, 64)
    x[1, 40] = bad
    found = LevelMatrix(packed(*drawn_levels(32, 64)), OWN)(x)
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()


@needs_compiler
def test_nothing_times_a_matrix_is_nothing():
    assert not LevelMatrix(packed(*drawn_levels(32, 64)), OWN)(torch.zeros(2, 64)).any()


@needs_compiler
def test_without_byte_products_sums_are_the_same(unbuilt):
    matrix, x = packed(*drawn_levels(32, 96)), drawn(5, 96)
    assert level_ops().reason == ""
    tuned = product(x, matrix)
    unbuilt.setenv("RHEOSTAT_CACHE", f"{fused_build.cache_folder()}-portable")
    unbuilt.setattr(fused_build, "TUNED", ("",))
    fused_library.cache_clear()
    level_ops.cache_clear()
    assert level_ops().reason == ""
    torch.testing.assert_close(product(x, matrix), tuned, rtol=1e-5, atol=1e-5)


# threads


@pytest.fixture
def threads(monkeypatch):
    """Set the number of threads, all of which work; it is as before afterwards."""
    before = torch.get_num_threads()
    monkeypatch.setattr(AllOrOne, "all", lambda choice: True)
    yield torch.set_num_threads
    torch.set_num_threads(before)


@needs_compiler
def test_the_number_of_threads_changes_no_bit(loaded, threads):
    own, _ = models(loaded)
    matrix, x = LevelMatrix(packed(*drawn_levels(80, 96)), OWN), drawn(70, 96)
    head = ScanHead(drawn(320, 96, seed=3), torch.float32)
    found = []
    for count in (1, 2, 3, 7):
        threads(count)
        scanned = head.candidates(x)
        caches = [empty_cache(own, full(own).layout, capacity=32) for _ in range(2)]
        for feeds in PASSES:  # torch's own product with the head is left out
            made = [Feed(caches[row], *feed) for row, feed in feeds]
            own.forward(made, full(own), logit_rows=[])
        held = [cache.whole()[:, : cache.length] for cache in caches]
        found.append((*held, matrix(x), scanned.rows, scanned.tokens))
    for others in found[1:]:
        assert all(torch.equal(one, first) for one, first in zip(others, found[0], strict=True))


@needs_compiler
def test_several_callers_at_once_have_the_right_product(threads):
    threads(2)
    matrix, x = LevelMatrix(packed(*drawn_levels(80, 96)), OWN), drawn(9, 96)
    wanted = matrix(x)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: matrix(x), range(200)))
    assert all(torch.equal(one, wanted) for one in found)


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork beside threads
def test_a_forked_process_has_threads_of_its_own(threads):
    threads(2)
    matrix, x = packed(*drawn_levels(80, 96)), drawn(9, 96)
    wanted = product(x, matrix)
    child = os.fork()
    if not child:  # nothing but the product: other libraries' threads are gone
        os._exit(0 if torch.equal(product(x, matrix), wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0


# all layers


def logits_of(model, depth, passes):
    caches = [empty_cache(model, depth.layout, capacity=1) for _ in range(2)]
    made = ([Feed(caches[row], *feed) for row, feed in feeds] for feeds in passes)
    return torch.cat([model.forward(feeds, depth, logit_rows=None).logits for feeds in made])


PASSES = [
    [(0, ([5, 6, 7, 8, 9], -5)), (1, ([3, 4, 5], -3))],
    [(0, ([10], 0))],
    [(1, ([11, 12, 13, 14], 0, [-1, 0, 0, 2])), (0, ([11, 12], 1))],
]


@needs_compiler
@pytest.mark.parametrize("dropped", [(), (0,), (1, 2)])
def test_logits_are_those_of_the_weights_in_float32(loaded, dropped):
    own, plain = models(loaded)
    assert own.fused_reason == ""
    whole = Layout.full(own.shape.layers)
    for layout in (whole.without(attention=dropped), whole.without(mlp=dropped)):
        found, wanted = (logits_of(m, Depth(layout), PASSES) for m in (own, plain))
        assert (found - wanted).abs().max() < 1e-2 * wanted.abs().max()


@needs_compiler
def test_widths_differ_by_little_more_than_the_order_of_sums(loaded):
    own, _ = models(loaded)
    tokens = [5 + i % 40 for i in range(FUSED_ROWS)]
    whole = logits_of(own, full(own), [[(0, (tokens, 0))]])
    for width in (1, 2, 7):
        parts = [[(0, (tokens[at : at + width], at))] for at in range(0, len(tokens), width)]
        assert (logits_of(own, full(own), parts) - whole).abs().max() < 1e-3 * whole.abs().max()


@needs_compiler
def test_a_forked_row_goes_on_as_the_whole(loaded):
    own, _ = models(loaded)
    depth = full(own)
    caches = [empty_cache(own, depth.layout, capacity=4) for _ in range(2)]
    for cache in caches:
        own.forward([Feed(cache, [5, 6, 7], -3)], depth, logit_rows=[])
    caches.append(caches[0].fork())
    found = [own.forward([Feed(c, [8], 0)], depth, logit_rows=None).logits for c in caches]
    for forked in (found[0], found[2]):
        assert (forked - found[1]).abs().max() < 1e-3 * found[1].abs().max()


@needs_compiler
def test_a_row_whose_entries_were_let_go_is_read_by_their_number(loaded):
    found = []
    for model in models(loaded):
        eviction = SinkWindow(sinks=2, window=4, every=8).at(1.0, {}, model.shape).eviction
        compaction = Compaction(model, PRICES, eviction)
        cache = compaction.cache(full(model).layout, prompt=20, capacity=20)
        model.forward([Feed(cache, list(range(20, 40)), -20)], full(model), logit_rows=[])
        compaction.settle([cache], [Work()], [Trace()])
        assert (cache.length, cache.entries) == (20, 6)
        found.append(model.forward([Feed(cache, [5], 0)], full(model), logit_rows=None).logits)
    assert (found[0] - found[1]).abs().max() < 1e-2 * found[1].abs().max()


@needs_compiler
def test_drafts_right_and_wrong_change_no_token(loaded):
    own, _ = models(loaded)
    engine = TorchEngine(loaded, own, Tokenizer.of(loaded), PRICES, dtype="gguf")
    prompts = ["the cat", "on and on and on"]
    base = outputs(engine, prompts, max_new_tokens=24)
    answers = [
        [*engine.tokenizer.encode(p), *o.token_ids] for p, o in zip(prompts, base, strict=True)
    ]

    def known(tokens, limit):
        (text,) = [a for a in answers if a[: len(tokens)] == tokens]
        right = text[len(tokens) :][: min(limit, 4)]
        return [*right, 7][:limit]

    decision = Installed(draft=ToyDrafter(known))
    drafted = outputs(engine, prompts, installed=decision, max_new_tokens=24)
    assert tokens_of(drafted) == tokens_of(base)
    assert sum(o.trace.accepted for o in drafted) > 10


# where it cannot be had


@needs_compiler
def test_measurements_with_a_compiler_are_not_used_without(unbuilt, tmp_path):
    before = torch.get_num_threads()
    path = write_tiny_gguf(tmp_path / "four.gguf", quantisation=KINDS[0])
    try:
        first = load_torch(str(path), dtype="gguf", threads=1)
        unbuilt.setenv("RHEOSTAT_FUSED", "0")
        for one in (fused_library, fused_ops, level_ops):
            one.cache_clear()
        second = load_torch(str(path), dtype="gguf", threads=1)
    finally:
        torch.set_num_threads(before)
    assert not second.llama.forms.level_own
    assert not second.llama.forms.quick_own
    prompt, text = [5, 6, 7], [8, 9, 10, 11, 12]
    scores = [e.score(prompt, text, installed=Installed()) for e in (first, second)]
    assert abs(scores[0].nats - scores[1].nats).max() < 0.05


def test_instruction_sets_are_told_in_an_order():
    sets = instruction_sets().split()
    assert sets == sorted(sets)
