"""What requests begin with alike: found in any order, read once, and paid for once."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from hypothesis import given
from hypothesis import strategies as st

from engines.torch_rig import ToyDrafter, engine_of, outputs, requests, tokens_of
from rheostat.engines.base import Sampling
from rheostat.engines.torch_load import forms_of_format
from rheostat.engines.torch_shared import LEAST, shared_prefix
from rheostat.kernel.budget import Caps
from rheostat.kernel.cost import total
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.plan import Plan
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.methods.cache.sink_window import SinkWindow
from rheostat.stages.run import run

SYSTEM = "the cat and the hat or a star is it a planet " * 6
PROMPTS = [SYSTEM + tail for tail in ("or a dog", "and the cat in the hat", "z", "is it")]
GUESS = ToyDrafter(lambda tokens, limit: tokens[-3:][:limit])


@pytest.fixture
def engine(tiny_loaded, monkeypatch):
    """A model that notes how many tokens its passes read."""
    made = engine_of(tiny_loaded)
    made.read, passed = [], made.passed

    def counted(feeds, *args, **kwargs):
        made.read += [len(feed.tokens) for feed in feeds]
        return passed(feeds, *args, **kwargs)

    monkeypatch.setattr(made, "passed", counted)
    return made


def common(engine):
    return shared_prefix([engine.encode(request) for request in requests(*PROMPTS)])


def answered(engine, *, batch, installed=None, ledger=None, shared=None, **sampling):
    """All outputs, batch after batch."""
    made, shared = [], shared or common(engine)
    for at in range(0, len(PROMPTS), batch):
        made += engine.generate(
            requests(*PROMPTS)[at : at + batch],
            Sampling(**{"max_new_tokens": 6} | sampling),
            installed=installed or Installed(),
            ledger=ledger,
            shared=shared,
        )
    return sorted(made, key=lambda output: int(output.id))


@given(
    same=st.integers(0, 2 * LEAST),
    tails=st.lists(st.lists(st.integers(0, 1), max_size=9), min_size=2),
)
def test_what_is_alike_is_the_beginning_of_all_and_leaves_each_a_token(same, tails):
    prompts = [[*range(5, 5 + same), *tail] for tail in tails]
    found = shared_prefix(prompts)
    other = shared_prefix(prompts[::-1])
    assert (found is None) == (other is None)
    shortest = min(map(len, prompts))
    if found is None:
        assert same < LEAST or shortest <= LEAST
        return
    assert LEAST <= len(found.ids) < shortest
    assert all(found.begins(prompt) for prompt in prompts)
    longer = [prompt[: len(found.ids) + 1] for prompt in prompts]
    assert len(found.ids) == shortest - 1 or len({*map(tuple, longer)}) > 1


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("more", [{}, {"temperature": 0.8, "seed": 3}])
def test_answers_are_those_of_reading_every_prompt_whole(engine, batch, more):
    base = outputs(engine, PROMPTS, max_new_tokens=6, **more)
    assert tokens_of(answered(engine, batch=batch, **more)) == tokens_of(base)
    drafted = answered(engine, batch=batch, installed=Installed(draft=GUESS), **more)
    if not more:
        assert tokens_of(drafted) == tokens_of(base)


@pytest.mark.parametrize("batch", [1, 4])
def test_it_is_read_once_and_the_first_row_pays(engine, batch):
    shared = common(engine)
    n = len(shared.ids)
    made = answered(engine, batch=batch, shared=shared)
    prompts = [len(engine.encode(request)) for request in requests(*PROMPTS)]
    written = sum(output.cost.new_tokens - 1 for output in made)
    assert sum(engine.read) == n + sum(prompts) - n * len(prompts) + written
    assert [output.trace.reused for output in made] == [0, n, n, n]
    paid = [output.cost.prompt_tokens for output in made]
    assert paid == [prompts[0], *(prompt - n for prompt in prompts[1:])]
    whole = outputs(engine, PROMPTS, max_new_tokens=6)
    saved = total(engine.reading_cost(o.trace.reused, Installed()) for o in made)
    assert total(o.cost for o in made).price + saved.price == pytest.approx(
        total(o.cost for o in whole).price, rel=0.35
    )


def test_in_a_reproducible_format_the_same_bits_are_read(tiny_loaded):
    engine = engine_of(tiny_loaded, forms=forms_of_format("reproducible"))
    base = outputs(engine, PROMPTS, max_new_tokens=20)
    assert tokens_of(answered(engine, batch=3, max_new_tokens=20)) == tokens_of(base)


def test_sub_layers_that_are_left_out_have_their_own(engine):
    shared = common(engine)
    less = Installed(depth=Depth(Layout.full(engine.shape.layers).without(attention=[1])))
    answered(engine, batch=1, shared=shared)
    base = outputs(engine, PROMPTS, installed=less, max_new_tokens=6)
    made = answered(engine, batch=1, shared=shared, installed=less)
    assert tokens_of(made) == tokens_of(base)
    assert [output.trace.reused > 0 for output in made] == [False, True, True, True]


def test_a_decision_about_the_cache_reads_every_prompt_whole(engine):
    plan = SinkWindow(window=4, every=8).at(0.5, {}, engine.shape)
    made = answered(engine, batch=2, installed=Installed(cache=CachePlan(plan.eviction)))
    assert [output.trace.reused for output in made] == [0] * 4


@pytest.mark.parametrize(
    "cap", [Caps(tokens=180), Caps(price=4.0), Caps(new_tokens=9), Caps(calls=7)]
)
@pytest.mark.parametrize("batch", [1, 4])
def test_no_cap_is_passed(engine, cap, batch):
    ledger = Ledger(cap)
    answered(engine, batch=batch, ledger=ledger)
    spent = ledger.spent
    assert spent.prompt_tokens + spent.new_tokens <= (cap.tokens or 10**9)
    assert spent.new_tokens <= (cap.new_tokens or 10**9)
    assert spent.price <= (cap.price or 10**9)
    assert spent.calls <= (cap.calls or 10**9)
    assert not [record for record in ledger.records if record.kind == "overrun"]


def test_a_run_tells_what_was_saved_and_a_resumed_one_says_the_same(engine, tmp_path, monkeypatch):
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    plan, sampling = Plan(model=engine.model), Sampling(max_new_tokens=6)
    whole = run(plan, path, tmp_path / "whole", sampling=sampling, engine=engine, batch=2)
    n = len(common(engine).ids)
    assert (whole["shared"]["tokens"], whole["shared"]["reused"]) == (n, 3)
    assert whole["shared"]["saved"]["prompt_tokens"] == 3 * n
    assert whole["shared"]["saved"]["price"] > whole["cost"]["price"] / 2
    lines = (tmp_path / "whole" / "trace.jsonl").read_text().splitlines()
    told = [json.loads(line)["saved"] for line in lines]
    assert sum(told) == pytest.approx(whole["shared"]["saved"]["price"])
    assert sum(price > 0 for price in told) == 3

    passed, left = engine.passed, [12]

    def stopping(*args, **kwargs):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return passed(*args, **kwargs)

    monkeypatch.setattr(engine, "passed", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(plan, path, tmp_path / "cut", sampling=sampling, engine=engine)
    cut = run(plan, path, tmp_path / "cut", sampling=sampling, engine=engine)
    assert 0 < cut["resumed"] < len(PROMPTS)
    texts = [
        [
            json.loads(line)["token_ids"]
            for line in (tmp_path / name / "outputs.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "cut")
    ]
    assert texts[0] == texts[1]
