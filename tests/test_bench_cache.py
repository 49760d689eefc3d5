"""The benchmark suite `cache`: equal bytes, one reading for all, and what is found."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

from engines.torch_rig import engine_of
from rheostat.bench import cache, cache_forms, cache_texts
from rheostat.bench.cache_reading import readings
from rheostat.bench.cache_texts import Long, needles
from rheostat.bench.journal import Journal
from rheostat.engines.weights_cache import load_weights
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.seams import Installed


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
    monkeypatch.setattr(cache_forms, "CODES", ((8, 8), (4, 4)))
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
    plain, ordered = result["forms"]["bfp"][2:]
    assert plain["bits_a_key"] == ordered["bits_a_key"] == 6
    assert result["forms"]["bfp"][0]["key_error"] < plain["key_error"]
    rebuilt = result["forms"]["kv_direct"]
    assert rebuilt["identical"]
    assert rebuilt["largest_difference"] < 1e-5
    assert set(result["verdicts"]) == set(cache.names()) - {"random_keep"}


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
        own = held * (entry + shape.kv_heads * 4 * name.startswith("ems"))
        taken = own + queries * name.startswith(("ems", "snapkv"))
        assert taken == pytest.approx(share * (tokens + 64) * entry, rel=1e-3)


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
