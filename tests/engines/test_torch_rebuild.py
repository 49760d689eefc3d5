"""Keys and values rebuilt from the residual stream: equal, the same bits, and the right text's."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from engines.torch_rig import engine_of, full, outputs, tokens_of
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_float_ops import float_ops
from rheostat.engines.torch_matrix import FIXED, OWN, Forms
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.budget import Caps
from rheostat.kernel.kv_cache import CachePlan, Checkpoints
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.model_cost import Work
from rheostat.kernel.seams import Installed
from rheostat.kernel.trace import Trace

TEXT = np.random.default_rng(0).integers(4, 300, 80).tolist()
SAME = [Forms(form, form) for form in FIXED if form not in OWN or float_ops().library]
NONE = Checkpoints(share=0.0, window=3, every=10)


@pytest.fixture(scope="module")
def engine(tiny_loaded):
    return engine_of(tiny_loaded)


@pytest.fixture(scope="module", params=SAME, ids=lambda forms: forms.narrow)
def fixed(request, tiny_loaded):
    return engine_of(tiny_loaded, forms=request.param)


def step(engine, cache, tokens):
    depth = full(engine.llama)
    return engine.llama.forward([Feed(cache, tokens, 0)], depth, logit_rows=None).logits


def running(engine, prompt, checkpoints=NONE):
    """A compaction, and a cache of which little is held as keys and values."""
    made = Compaction(engine.llama, engine.prices(), None, None, checkpoints)
    cache = made.cache(full(engine.llama).layout, prompt=len(prompt), capacity=0)
    step(engine, cache, prompt)
    settle(made, cache)
    return made, cache


def settle(made, cache):
    made.settle([cache], [Work()], [Trace()])


def whole(engine, text):
    cache = empty_cache(engine.llama, full(engine.llama).layout, capacity=len(text))
    step(engine, cache, text)
    return cache


@pytest.mark.parametrize("n", [20, 35, 64, 80])
def test_what_is_rebuilt_is_what_was_held_at_every_layer(engine, n):
    _, cache = running(engine, TEXT[:n])
    kept = whole(engine, TEXT[:n])
    assert cache.rebuilt == n - 3
    for slot in range(engine.shape.layers):
        assert torch.allclose(cache.held(slot, 0), kept.held(slot, 0), atol=1e-5)


def test_under_reproducible_numerics_not_a_bit_differs(fixed):
    made, cache = running(fixed, TEXT[:40])
    kept = whole(fixed, TEXT[:40])
    for at in range(40, 70):
        logits = [step(fixed, one, TEXT[at : at + 1]) for one in (cache, kept)]
        assert torch.equal(*logits)
        settle(made, cache)
    for slot in range(fixed.shape.layers):
        assert torch.equal(cache.held(slot, 0), kept.held(slot, 0))


def all_held(engine, cache):
    return [cache.held(slot, 0).clone() for slot in range(engine.shape.layers)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [1, 5])
def test_what_is_let_go_and_rebuilt_is_what_was_held_bit_by_bit(tiny_loaded, dtype, width):
    engine = engine_of(tiny_loaded, dtype=dtype)
    made = Compaction(engine.llama, engine.prices(), None, None, NONE)
    cache = made.cache(full(engine.llama).layout, prompt=37, capacity=0)
    step(engine, cache, TEXT[:37])
    let_go = set()
    for at in range(37, 67, width):
        before = all_held(engine, cache)
        settle(made, cache)
        let_go.add(cache.rebuilt)
        assert all(map(torch.equal, before, all_held(engine, cache)))
        step(engine, cache, TEXT[at : at + width])
    assert len(let_go) > 1


def test_branches_of_a_draft_are_held_as_they_will_be_rebuilt(engine):
    made, cache = running(engine, TEXT[:40])
    tree = Feed(cache, [7, 8, 9, 11, 12], 0, (-1, 0, 1, 0, 3))
    engine.llama.forward([tree], full(engine.llama), logit_rows=None)
    cache.keep(5, [0, 3, 4])
    before = all_held(engine, cache)
    for token in TEXT[43:50]:
        step(engine, cache, [token])
    settle(made, cache)
    assert cache.rebuilt > 43
    for held, slot in zip(before, range(engine.shape.layers), strict=True):
        assert torch.equal(cache.held(slot, 0)[:43], held)


def test_what_is_rebuilt_does_not_depend_on_what_is_rebuilt_with_it(engine):
    _, cache = running(engine, TEXT[:70])
    few, many = (cache.rebuild(1, cache.residuals.first(1, n)) for n in (9, 67))
    assert torch.equal(few, many[:9])


def test_the_keys_and_values_that_went_are_given_back(engine):
    _, cache = running(engine, TEXT[:70])
    shape = engine.shape
    entries = shape.layers * 2 * shape.kv_heads * shape.head_size * 4 * (3 + 10)
    assert cache.bytes == entries + shape.layers * shape.width * 4 * (70 + 10)


@torch.inference_mode()
def test_a_foreign_residual_stream_gives_the_foreign_texts_answer(engine):
    other = [(token + 5) % 290 + 4 for token in TEXT]
    _, cache = running(engine, TEXT[:40])
    _, foreign = running(engine, other[:40])
    wanted = step(engine, foreign.fork(), [9])
    for slot in range(engine.shape.layers):
        stream = foreign.residuals.first(slot, 37)
        cache.residuals.put(slot, stream[None, None], 0)
        cache._own[slot, :3] = foreign.held(slot, 0)[37:]
    assert torch.allclose(step(engine, cache, [9]), wanted, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_ten_turns_give_the_tokens_of_the_whole_cache(engine, share):
    checkpoints = Checkpoints(share=share, window=3, every=4)
    made, cache = running(engine, TEXT[:12], checkpoints)
    kept = whole(engine, TEXT[:12])
    token = 7
    for turn in range(10):
        for _ in range(3):
            logits = [step(engine, one, [token]) for one in (cache, kept)]
            assert int(logits[0].argmax()) == int(logits[1].argmax())
            token = int(logits[0].argmax())
            settle(made, cache)
        for told in TEXT[12 + 2 * turn : 14 + 2 * turn]:
            step(engine, kept, [told])
            step(engine, cache, [told])
            settle(made, cache)
    assert cache.length == kept.length


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_what_rebuilding_costs_is_reserved_before_it_is_spent(engine, share):
    plan = Installed(cache=CachePlan(checkpoints=Checkpoints(share=share, window=3, every=4)))
    prompt = "the cat and the hat or a star " * 8
    (free,) = outputs(engine, [prompt], installed=plan, max_new_tokens=24)
    (base,) = outputs(engine, [prompt], max_new_tokens=24)
    assert free.cost.price > base.cost.price
    for cap in (0.5 * free.cost.price, free.cost.price, 40 * free.cost.price):
        ledger = Ledger(Caps(price=cap))
        (capped,) = outputs(engine, [prompt], installed=plan, max_new_tokens=24, ledger=ledger)
        assert capped.cost.price <= cap
        assert not [record for record in ledger.records if record.kind == "overrun"]
    assert capped.token_ids == free.token_ids


def test_forks_go_their_own_ways(engine):
    made, one = running(engine, TEXT[:40])
    other = one.fork()
    kept = whole(engine, TEXT[:40])
    for token in TEXT[40:55]:
        step(engine, other, [(token + 1) % 290])
        settle(made, other)
        logits = [step(engine, cache, [token]) for cache in (one, kept)]
        assert torch.allclose(*logits, atol=1e-4)
        settle(made, one)


def test_bfloat16_answers_are_made_of_rebuilt_keys_too(tiny_loaded):
    engine = engine_of(tiny_loaded, dtype=torch.bfloat16)
    plan = Installed(cache=CachePlan(checkpoints=NONE))
    (output,) = outputs(engine, ["the cat and the hat"], installed=plan, max_new_tokens=30)
    assert 0 < len(tokens_of([output])[0][0]) <= 30
