"""What leaves the compiled steps is priced by a table of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from gguf import GGMLQuantizationType

from engines.tiny_gguf import write_tiny_gguf
from engines.torch_rig import PRICES, outputs, requests, with_policy
from rheostat.engines import torch_load
from rheostat.engines.base import Sampling
from rheostat.engines.fused_build import fused_library
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_levels import load_levels
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Llama
from rheostat.engines.torch_ways import Tables
from rheostat.engines.weights_cache import load_weights
from rheostat.kernel.budget import Caps
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.plan import Setting
from rheostat.kernel.seams import Installed
from rheostat.methods.cache.sink_window import SinkWindow
from rheostat.stages.losses import base_samples
from rheostat.stages.pricing import Pricing
from rheostat.workloads.load import Workload

pytestmark = pytest.mark.skipif(
    fused_library().library is None, reason=fused_library().reason or "built"
)
KIND = GGMLQuantizationType.Q4_0
DEARER = {"decided": 3.0, "compacted": 5.0}
PROMPTS = ["the cat", "on and on and on"]


@pytest.fixture(scope="module")
def path(tmp_path_factory, engines_cache):
    """A tiny model in four bits."""
    sizes = {"layers": 4, "width": 96, "heads": 6, "kv_heads": 2, "inner": 160}
    return write_tiny_gguf(
        tmp_path_factory.mktemp("ways") / "four.gguf", **sizes, quantisation=KIND
    )


@pytest.fixture(scope="module")
def model(path):
    loaded = load_weights(str(path))
    levels, forms = load_levels(loaded), Forms(level_own=True)
    return Llama(loaded, dtype=torch.float32, forms=forms, levels=levels)


def scaled(way):
    """A table in which all of a way's passes cost so many times the plain ones'."""
    factor = DEARER[way]
    rows = {name: tuple(factor * s for s in getattr(PRICES, name)) for name in ("mlp", "head")}
    attention = tuple(tuple(factor * s for s in row) for row in PRICES.attention)
    return replace(PRICES, **rows, attention=attention, fixed=factor * PRICES.fixed)


def engine_of(model, path, prices):
    loaded = load_weights(str(path))
    return TorchEngine(loaded, model, Tokenizer.of(loaded), prices, dtype="gguf")


def decisions(model):
    """A policy that lets all MLPs run, and a window as long as the text."""
    window = SinkWindow(sinks=2, window=200, every=8).at(1.0, {}, model.shape)
    return {
        "decided": Installed(depth=with_policy(model, lambda _layer, _place: True)),
        "compacted": Installed(cache=window),
    }


def test_decisions_leave_the_compiled_steps(model, path):
    loaded = load_weights(str(path))
    wide = Llama(loaded, dtype=torch.float32, forms=Forms())
    own = Llama(loaded, dtype=torch.float32, forms=Forms(), fused=False)

    def ways(one):
        flags = [(False, False), (True, False), (False, True), (True, True)]
        return [one.way(decided=decided, compacted=compacted) for decided, compacted in flags]

    for stacked in (model, wide):
        assert ways(stacked) == ["plain", "decided", "compacted", "decided"]
    assert ways(own) == ["plain"] * 4


@pytest.mark.parametrize("way", DEARER)
def test_every_pass_is_charged_by_its_own_table(model, path, way):
    decision = decisions(model)[way]
    plain, told = (engine_of(model, path, prices) for prices in (PRICES, Tables(PRICES, scaled)))
    for installed, factor in ((Installed(), 1.0), (decision, DEARER[way])):
        pairs = [outputs(e, PROMPTS, installed=installed, max_new_tokens=12) for e in (plain, told)]
        for one, two in zip(*pairs, strict=True):
            assert one.token_ids == two.token_ids
            assert two.cost.price == pytest.approx(factor * one.cost.price, rel=1e-9)
        read = [e.score([5, 6, 7], [8, 9], installed=installed).cost for e in (plain, told)]
        assert read[1].price == pytest.approx(factor * read[0].price, rel=1e-9)


def test_no_way_is_cheaper_than_plain_passes_by_chance():
    half = replace(
        PRICES, mlp=tuple(s / 2 for s in PRICES.mlp), head=tuple(3 * s for s in PRICES.head)
    )
    found = Tables(PRICES, lambda way: half).of("compacted")
    assert found == replace(PRICES, head=half.head)


def test_a_table_is_measured_when_a_plan_first_asks_for_it(model, path):
    asked = []

    def measure(way):
        asked.append(way)
        return scaled(way)

    engine = engine_of(model, path, Tables(PRICES, measure))
    outputs(engine, PROMPTS, max_new_tokens=4)
    assert asked == []
    for _ in range(2):
        outputs(engine, PROMPTS, installed=decisions(model)["decided"], max_new_tokens=4)
    assert asked == ["decided"]


@pytest.mark.parametrize("way", DEARER)
@pytest.mark.parametrize("cap", [0.2, 0.9, 2.5])
def test_a_cap_on_the_price_holds_where_passes_are_dearer(model, path, way, cap):
    engine = engine_of(model, path, Tables(PRICES, scaled))
    ledger = Ledger(Caps(price=cap))
    outputs(engine, PROMPTS, installed=decisions(model)[way], ledger=ledger, max_new_tokens=24)
    assert ledger.spent.price <= cap


def test_a_search_prices_settings_by_the_way_they_take(model, path):
    setting = (Setting(name="sink_window", dial=0.5),)
    items = Workload(name="w", kind="edit", digest="d", items=tuple(requests(*PROMPTS)))
    ratios = []
    for prices in (PRICES, Tables(PRICES, scaled)):
        engine = engine_of(model, path, prices)
        samples = base_samples(engine, items, Sampling(max_new_tokens=12), lambda _line: None)
        pricing = Pricing(engine, samples)
        ratios.append(pricing.ratio(pricing.priced(setting)))
    assert ratios[1] == pytest.approx(DEARER["compacted"] * ratios[0], rel=1e-9)


def test_a_measured_table_is_kept(path, monkeypatch):
    first = load_torch(str(path), dtype="float32", threads=1)
    decision = decisions(first.llama)["decided"]
    found = first.prices(decision)
    assert found != first.prices()
    monkeypatch.setattr(torch_load, "measured_prices", None)  # calling it would fail
    again = load_torch(str(path), dtype="float32", threads=1)
    assert again.prices(decision) == found
    assert again.prices() == first.prices()
