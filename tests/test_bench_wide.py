"""The benchmark suite `wide`: fair turns, and peers that answer several requests at once."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

from rheostat.bench import wide
from rheostat.bench.llamacpp_peer import LlamaCpp, Order
from rheostat.bench.peer import ASSISTED, LOOKUPS, Transformers
from rheostat.engines.base import Request
from rheostat.engines.torch_load import DTYPES, load_torch
from stages.conftest import write_lines

pytest_plugins = ["stages.conftest"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    lines = [{"prompt": f"{head} the cat and the hat"} for head in "abcdefghijklmnop"]
    return write_lines(tmp_path_factory.mktemp("texts") / "texts.jsonl", lines)


@pytest.mark.parametrize("rows", [1, 3])
def test_everyone_answers_every_group_first_in_turn(tiny, texts, monkeypatch, rows):
    monkeypatch.setattr(wide, "NEW_TOKENS", 12)
    asked = []

    def noting(name, answer):
        def noted(group):
            asked.append((name, len(group)))
            return answer(group)

        return noted

    own = {name: noting(name, answer) for name, answer in wide._own(tiny).items()}
    cell = wide._cell(own, texts, rows, 2)
    assert (
        asked
        == [
            (name, rows)
            for order in (("base", "controller"), ("controller", "base")) * 2
            for name in order
        ][: 2 * 3]
    )
    assert all(found["repeats"] == 2 for found in cell["tokens_per_second"].values())
    json.dumps(cell, allow_nan=False)


PROMPTS = ("Name three colours.", "Why is the sky blue? Answer in one sentence, please.")


@pytest.fixture(scope="module")
def prompts():
    engine = load_torch("smollm2", threads=1)
    asked = [Request(id=p, messages=({"role": "user", "content": p},)) for p in PROMPTS]
    return [engine.encode(one) for one in asked], sorted(engine.eos)


@pytest.mark.slow
def test_padding_changes_no_answer_of_transformers(prompts):
    rows, eos = prompts
    peer = Transformers("smollm2", DTYPES["float32"], lambda text: None)
    alone = [peer.generate([row], new_tokens=12, eos=eos).rows[0] for row in rows]
    assert peer.generate(rows, new_tokens=12, eos=eos).rows == alone


@pytest.mark.slow
def test_drafts_change_no_answer_of_transformers(prompts):
    (row, _), eos = prompts
    peer = Transformers("smollm2", DTYPES["float32"], lambda text: None)
    dense = peer.generate([row], new_tokens=12, eos=eos).rows
    for drafting in (LOOKUPS | ASSISTED).values():
        assert peer.generate([row], new_tokens=12, eos=eos, drafting=drafting).rows == dense


@pytest.mark.slow
def test_llamacpp_answers_two_prompts_at_once(smollm2, prompts):
    pytest.importorskip("xllamacpp", reason="the peer is optional")
    rows, _ = prompts
    peer = LlamaCpp(Order(str(smollm2.gguf_path), "NONE", 1, 256, rows=2))
    alone = [peer.answer(row, new_tokens=12) for row in rows]
    together = peer.answers(rows, new_tokens=12)
    peer.close()
    assert [reply.text.split()[:3] for reply in together] == [r.text.split()[:3] for r in alone]
