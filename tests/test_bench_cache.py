"""The benchmark suite `cache`: equal bytes, one reading for all, and what is found."""

from __future__ import annotations

import sys
from typing import final

import numpy as np
import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

import torch

from engines.torch_rig import engine_of
from rheostat.bench import cache, cache_forms, cache_texts
from rheostat.bench.cache_presses import measured_presses
from rheostat.bench.cache_reading import readings
from rheostat.bench.cache_texts import Long, needles
from rheostat.bench.journal import Journal
from rheostat.bench.kvpress_peer import KvPress, Versions, kvpress_of
from rheostat.bench.llamacpp_peer import PeerError
from rheostat.bench.plain_blocks import PlainBlocks
from rheostat.engines.torch_coded import CodedPart
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_queries import Queries
from rheostat.engines.weights_cache import load_weights
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.model_cost import ModelShape, Work
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.kernel.trace import Trace
from rheostat.methods.cache.bfp import Bfp

SHAPE = ModelShape(
    layers=2, width=192, heads=3, kv_heads=3, head_size=64, inner=8, vocabulary=9, context=512
)


@pytest.fixture(scope="module")
def engine(tiny_gguf):
    return engine_of(load_weights(str(tiny_gguf)))


@pytest.fixture
def short(monkeypatch):
    sizes = {"TEXTS": 2, "TEXT_TOKENS": 300, "AFTER": 64, "NEEDLES": 2, "NEEDLE_TOKENS": 330}
    speed = {"CONTEXT": 200, "ROWS": 2, "STEPS": 2, "FORKED": 50, "FORKS": 3, "SHARES": (0.8, 0.7)}
    forms = {"FORM_TEXTS": 1, "FORM_TOKENS": 100, "FORM_AFTER": 10}
    for name, value in (sizes | speed | forms).items():
        monkeypatch.setattr(cache, name, value)
    monkeypatch.setattr(cache_forms, "CODES", ((8, 4), (4, 4)))
    monkeypatch.setattr(cache_texts, "_PEOPLE", ("Anna", "Boris"))


def said(_):
    return


def test_a_result_holds_every_method_at_every_share(engine, short, tmp_path):
    result = cache.measured_cache(engine, said, Journal(tmp_path / "partial.json"))
    found = {(cell["share"], cell["method"]) for cell in result["cells"]}
    assert found == {(share, name) for share in cache.SHARES for name in cache.names()}
    assert result["base"]["excess_nats"] == 0
    assert result["base"]["byte_share"] == 1
    assert all(0 < cell["byte_share"] < 1 for cell in result["cells"])
    assert result["steps"]["part_bytes"] < result["steps"]["whole_bytes"]
    eight, four = result["forms"]["bfp"][:3], result["forms"]["bfp"][3:]
    assert {cell["bits_a_key"] for cell in four} == {6}
    assert len({round(cell["byte_share"], 9) for cell in four}) == 1
    assert all(a["key_error"] < b["key_error"] for a, b in zip(eight, four, strict=True))
    assert not result["kvpress"]["compared"]
    rebuilt = result["forms"]["kv_direct"]
    assert rebuilt["identical"]
    assert 0 <= rebuilt["difference_of_rebuilding"] < 1e-5 < rebuilt["largest_number"]
    assert rebuilt["difference_of_runs"] < 1e-4
    assert set(result["verdicts"]) == {*cache.names(), "bfp", "kv_direct"} - {"random_keep"}


@pytest.mark.parametrize("share", [0.5, 0.25, 0.125])
def test_methods_take_their_share_of_the_bytes_whatever_they_store_beside_entries(engine, share):
    shape = engine.shape
    tokens = 20000  # long enough that sinks and window never bind
    entry = 2 * shape.kv_heads * shape.head_size * 4
    queries = 64 * shape.heads * shape.head_size * 4
    for name, eviction in cache.contestants(shape, tokens, draw=0).items():
        if not name.endswith(f" {share:g}"):
            continue
        held = eviction.entries(tokens) + eviction.every
        known = 12 * name.startswith("ems") + 8 * name.startswith("random")
        own = held * (entry + shape.kv_heads * known)
        taken = own + queries * name.startswith(("ems", "snapkv"))
        assert taken == pytest.approx(share * (tokens + 64) * entry, rel=1e-3)


@pytest.mark.parametrize("share", [0.75, 0.5])
def test_equal_bytes_are_equal_storage(engine, share, monkeypatch):
    monkeypatch.setattr(cache, "SHARES", (share,))
    shape, n = engine.shape, 440
    tokens = [(7 * i * i + i) % 280 + 10 for i in range(n + 63)]
    whole = 2 * shape.layers * shape.kv_heads * shape.head_size * 4 * (n + 64)
    for eviction in cache.contestants(shape, n, draw=0).values():
        held = after_the_prompt(engine, eviction, tokens, n)
        assert held.bytes == storage_bytes(held)
        assert held.bytes == pytest.approx(share * whole, rel=0.04)  # entries go in blocks


def after_the_prompt(engine, eviction, tokens, prompt):
    """The cache of a row under a decision that has read a prompt and what lies before a border."""
    made = Compaction(engine.llama, engine.prices(), eviction)
    depth = Depth(Layout.full(engine.shape.layers))
    held = made.cache(depth.layout, prompt=prompt, capacity=0)
    for at, end in made.parts(prompt, len(tokens), 256):
        made.settle([held], [Work()], [Trace()])
        engine.llama.forward([Feed(held, tokens[at:end], 0)], depth, logit_rows=[])
    return held


def storage_bytes(held):
    """Bytes of all tensors and arrays that can be reached from a cache, each counted once."""
    found, waiting = {}, [vars(held)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, np.ndarray):
            whole = value if value.base is None else value.base
            found[id(whole)] = whole.nbytes
        elif isinstance(value, (tuple, list)):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (Queries, CodedPart)):
            waiting.append(vars(value))
    return sum(found.values())


def test_one_reading_for_all_gives_what_each_would_have_read_alone(engine):
    tokens = [(7 * i * i + i) % 280 + 10 for i in range(280)]
    text = Long("text", tokens[:200], tokens[200:])
    who = cache.contestants(engine.shape, 200, draw=1)
    together = readings(engine, text, who, 64)
    for name, eviction in who.items():
        installed = Installed(cache=CachePlan(eviction))
        alone = engine.score(text.prompt, text.continuation, installed=installed)
        assert together[name].nats == pytest.approx(float(alone.nats.mean()), abs=1e-4)
        assert together[name].bytes == alone.trace.cache_bytes
    base = engine.score(text.prompt, text.continuation, installed=Installed())
    assert together["base"].nats == pytest.approx(float(base.nats.mean()), abs=1e-4)
    assert together["base"].first_nats == pytest.approx(float(base.nats[:64].mean()), abs=1e-4)


def test_every_number_is_told_once_and_one_of_them_is_asked_for(engine):
    for i, text in enumerate(needles(engine, 3, 700, seed=1)):
        told = engine.tokenizer.decode(text.prompt)
        asked = cache_texts._PEOPLE[i]
        answer = engine.tokenizer.decode(text.continuation).strip()
        assert told.endswith(f"The secret number of {asked} is")
        assert f"The secret number of {asked} is {answer}." in told
        assert all(told.count(f"number of {p} is") == 1 + (p == asked) for p in cache_texts._PEOPLE)


@pytest.mark.parametrize(
    ("found", "holds"), [({"ems": 3}, True), ({"ems": 1, "sink_window": 2}, False)]
)
def test_a_verdict_wants_loss_and_answers_at_every_share(found, holds):
    loss = {"sink_window": 0.3, "snapkv": 0.2, "ems": 0.1, "random_keep": 0.4}
    cells = [
        {"share": share, "method": name, "excess_nats": nats, "found": found.get(name, 0)}
        for share in cache.SHARES
        for name, nats in loss.items()
    ]
    assert cache.verdicts(cells)["ems"]["beats_controls"] is holds
    assert cache.verdicts(cells)["sink_window"]["beats_controls"]


def cells_of(ordered, rebuilt):
    errors = {"plain integers": 0.2, "as they are": 0.3, "in order": ordered}
    cells = [
        {"bits_a_key": bits + 8 / block, "block": block, "coding": coding, "key_error": error}
        for bits, block in cache_forms.CODES
        for coding, error in errors.items()
    ]
    return {"bfp": [cell | {"excess_nats": cell["key_error"]} for cell in cells]} | {
        "kv_direct": rebuilt
    }


@pytest.mark.parametrize(("ordered", "holds"), [(0.1, True), (0.25, False)])
def test_a_form_holds_where_it_is_nearer_than_both_controls(ordered, holds):
    rebuilt = {"identical": True, "bytes": 3, "whole_bytes": 2}
    made = cache_forms.form_verdicts(cells_of(ordered, rebuilt))
    assert made["bfp"]["beats_controls"] is holds
    assert made["kv_direct"]["beats_controls"] is False  # exact, and larger
    smaller = cache_forms.form_verdicts(cells_of(ordered, rebuilt | {"bytes": 1}))
    assert smaller["kv_direct"]["beats_controls"] is True


@pytest.mark.parametrize("bits", [4, 8])
def test_plain_integers_take_the_bits_of_block_floats_and_are_off_by_half_a_step(bits):
    draw = np.random.default_rng(0)
    keys, values = draw.standard_normal((2, 3, 10, 64)).astype(np.float32)
    plain = PlainBlocks(key_bits=bits, value_bits=8, block=64, recent=1, every=1)
    floats = Bfp(block=32).at(0.5 if bits == 8 else 1.0, {}, SHAPE).coder
    coded, other = plain.encode(keys, values, None), floats.encode(keys, values, None)
    assert sum(p.nbytes for p in coded.parts) == sum(p.nbytes for p in other.parts)
    step = np.abs(keys).max(axis=2, keepdims=True) / (2 ** (bits - 1) - 1)
    made, _ = plain.decode(coded.parts, coded.state)
    assert (np.abs(made - keys) <= 0.51 * step).all()


@final
class Presses:
    """A peer that keeps what it is asked, and says how much that was."""

    versions = Versions("0", "1")

    def __init__(self):
        self.asked = []

    def read(self, text, kept):
        self.asked.append((text, kept))
        n = len(text.prompt)
        base = {"nats": 1.0, "right": True, "bytes": n}
        return {"base": base} | {
            f"A B {share}": {"nats": 1 + 1 / size, "right": size > 100, "bytes": size}
            for share, size in kept.items()
        }


def test_presses_keep_as_many_entries_as_the_window_and_read_on_to_the_next_border(tmp_path):
    texts = [Long(name, [1] * 400, [2] * 128) for name in ("prose 0", "needle 0")]
    peer = Presses()
    kept = {"0.5": lambda n: n // 2, "0.25": lambda n: n // 4}
    journal = Journal(tmp_path / "partial.json")
    found = measured_presses(peer, texts, kept, 64, lambda _: None, journal)
    assert [sizes for _, sizes in peer.asked] == [{"0.5": 200, "0.25": 100}] * 2
    assert {len(text.continuation) for text, _ in peer.asked} == {64}
    half, quarter = found["cells"]
    assert (half["share"], half["method"], half["byte_share"]) == (0.5, "A B", 0.5)
    assert (half["found"], quarter["found"], quarter["asked"]) == (1, 0, 1)
    assert quarter["first_excess_nats"] == pytest.approx(1 / 100)


def test_a_worker_answers_line_by_line_and_its_end_is_told(tmp_path):
    echo = "import json,sys\nsys.stdin.readline()\nprint(sys.stdin.readline(), end='')\n"
    peer = KvPress((sys.executable, "-c", echo), tmp_path, Versions("0", "1"))
    text = Long("needle 0", [1, 2], [3])
    told = {"prompt": [1, 2], "continuation": [3], "kept": {"0.5": 1}}
    assert peer.read(text, {"0.5": 1}) == told
    with pytest.raises(PeerError, match="ended without an answer"):
        peer.read(text, {"0.5": 1})
    peer.close()


def test_a_python_without_the_package_is_not_compared(tmp_path, monkeypatch):
    nothing = tmp_path / "python"
    nothing.write_text("#!/bin/sh\nexit 1\n")
    nothing.chmod(0o755)
    monkeypatch.setenv("RHEOSTAT_KVPRESS_PYTHON", str(nothing))
    said = []
    with kvpress_of("smollm2", said.append) as peer:
        assert peer is None
    assert "not installed" in said[0]
