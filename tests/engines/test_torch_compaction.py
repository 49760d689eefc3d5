"""Cache decisions carried out on the `torch` engine: what is asked, kept, shared and freed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from engines.torch_rig import engine_of, full, outputs, tokens_of
from engines.tree_drafts import knowing
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_queries import Queries
from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import CachePlan, Kept
from rheostat.kernel.model_cost import Work
from rheostat.kernel.policies.kv_budget import taken
from rheostat.kernel.seams import Installed
from rheostat.kernel.trace import Trace

TEXT = np.random.default_rng(0).integers(4, 300, 60).tolist()


@dataclass(frozen=True)
class Toy:
    """Keeps the newest `keeps` entries, or doubles their count; remembers what it was shown."""

    keeps: int = 6
    every: int = 5
    newest: int | None = None
    count: float = 1.0
    seen: list[Any] = field(default_factory=list)

    def entries(self, tokens):
        return self.keeps

    def observe(self, weights, state):
        self.seen.append(weights)
        return (state or 0) + weights.shape[1]

    def compact(self, held, border):
        entries = held.counts.shape[1]
        newest = np.broadcast_to(np.arange(entries - self.keeps, entries), (2, self.keeps))
        made = taken(held, newest)
        return Kept(made._replace(counts=made.counts * self.count), border.state)


@pytest.fixture(scope="module")
def engine(tiny_loaded):
    return engine_of(tiny_loaded)


def running(engine, toy, prompt):
    """A compaction, and a cache that has read a prompt and is settled."""
    made = Compaction(engine.llama, engine.prices(), toy)
    cache = made.cache(full(engine.llama).layout, prompt=len(prompt), capacity=0)
    for at, end in made.parts(len(prompt), len(prompt), 16):
        settle(made, cache)
        step(engine, cache, prompt[at:end])
    settle(made, cache)
    return made, cache


def settle(made, *caches):
    made.settle(caches, [Work() for _ in caches], [Trace() for _ in caches])


def step(engine, cache, tokens):
    return engine.llama.forward(
        [Feed(cache, tokens, 0)], full(engine.llama), logit_rows=None
    ).logits


@pytest.mark.parametrize(("prompt", "tokens"), [(40, 40), (40, 63), (16, 40), (3, 3), (20, 7)])
def test_a_text_is_read_in_parts_that_end_at_every_border(engine, prompt, tokens):
    made = Compaction(engine.llama, engine.prices(), Toy())
    parts = made.parts(prompt, tokens, 16)
    assert [at for at, _ in parts] == [0, *(end for _, end in parts[:-1])]
    assert parts[-1][1] == tokens
    assert all(0 < end - at <= 16 for at, end in parts)
    assert set(range(prompt, tokens, 5)) <= {end for _, end in parts}
    at, end = next(part for part in parts if part[1] >= min(prompt, tokens))
    assert end - at == min(16, prompt, tokens)


def test_positions_go_on_from_the_true_length(engine):
    _, cache = running(engine, Toy(), TEXT[:40])
    assert (cache.length, cache.entries) == (40, 6)
    made = step(engine, cache, TEXT[40:42])
    base = logits_after_newest(engine, TEXT[:42], 6, 2)
    assert torch.allclose(made, base, atol=1e-4)


def logits_after_newest(engine, text, window, n):
    """Logits of the last n tokens after a window of entries that were computed with all before."""
    made = Compaction(engine.llama, engine.prices(), None)
    cache = made.cache(full(engine.llama).layout, prompt=0, capacity=len(text))
    step(engine, cache, text[:-n])
    held = [cache.held(slot, 0)[-window:].clone() for slot in range(len(cache.states))]
    cache.replace(held, None, n)
    return step(engine, cache, text[-n:])


def test_entries_that_are_no_longer_those_of_every_token_are_not_handed_to_compiled_steps(engine):
    _, cache = running(engine, Toy(), TEXT[:40])
    assert cache.whole() is None
    assert cache.fork().whole() is None


def test_the_old_buffer_is_given_back(engine):
    made = Compaction(engine.llama, engine.prices(), Toy(newest=0))
    _, cache = running(engine, Toy(newest=0), TEXT[:40])
    layout = full(engine.llama).layout
    whole = made.cache(layout, prompt=40, capacity=0)
    assert cache.bytes * 40 == whole.bytes * 11


def test_the_attention_that_is_shown_is_that_of_the_model(engine):
    toy = Toy(keeps=50)
    running(engine, toy, TEXT[:40])
    shapes = [weights.shape for weights in toy.seen]
    assert shapes[:2] == [(2, 8, 8)] * 2  # 40 = 8 + 16 + 16, two slots
    assert shapes[-1] == (2, 16, 40)
    for weights in toy.seen:
        n, entries = weights.shape[1:]
        assert np.allclose(weights.sum(axis=2), 1, atol=1e-5)
        assert (weights[:, :, entries - n :][:, np.triu(np.ones((n, n), bool), 1)] == 0).all()


def test_only_the_newest_queries_are_shown_where_only_they_are_wanted(engine):
    toy = Toy(newest=3)
    made, cache = running(engine, toy, TEXT[:40])
    assert {weights.shape[1:] for weights in toy.seen} == {(3, 40)}
    for token in TEXT[40:45]:
        step(engine, cache, [token])
        settle(made, cache)
    assert {weights.shape[1:] for weights in toy.seen[2:]} == {(3, 11)}


def test_a_count_is_a_weight_in_the_attention(engine):
    _, plain = running(engine, Toy(newest=0), TEXT[:40])
    _, counted = running(engine, Toy(newest=0, count=1e9), TEXT[:40])
    _, doubled = running(engine, Toy(newest=0, count=2.0), TEXT[:40])
    assert (doubled.bias(0, 2)[:, :6] - np.log(2)).abs().max() < 1e-6
    assert (doubled.bias(0, 2)[:, 6:] == 0).all()
    made = [step(engine, cache, TEXT[40:41]) for cache in (plain, doubled, counted)]
    assert not torch.allclose(made[0], made[1], atol=1e-3)
    assert not torch.allclose(made[1], made[2], atol=1e-3)


def test_what_lies_before_a_border_cannot_be_taken_back(engine):
    _, cache = running(engine, Toy(), TEXT[:40])
    step(engine, cache, TEXT[40:43])
    cache.truncate(41)
    with pytest.raises(AssertionError):
        cache.truncate(39)


def test_forks_share_the_entries_that_are_left_and_go_their_own_ways(engine):
    made, one = running(engine, Toy(count=2.0), TEXT[:40])
    other = one.fork()
    parts = [cache._prefix[0].buffer.data_ptr() for cache in (one, other)]
    assert parts[0] == parts[1]
    _, plain = running(engine, Toy(count=2.0), TEXT[:40])
    for token in TEXT[40:52]:
        step(engine, other, [(token + 1) % 290])
        logits = [step(engine, cache, [token]) for cache in (one, plain)]
        assert torch.allclose(*logits, atol=1e-5)
        settle(made, one, other, plain)
    assert one.entries == plain.entries == other.entries


def test_forked_queries_are_copied_by_whoever_writes_first(engine):
    shape = engine.shape
    one = Queries(shape, 1, room=4, dtype=torch.float32)
    ones = torch.ones(shape.kv_heads, shape.heads // shape.kv_heads, 2, shape.head_size)
    one.put(0, ones, 0)
    other = one.fork()
    assert other._buffer.data_ptr() == one._buffer.data_ptr()
    other.put(0, 5 * ones, 1)
    one.put(0, 7 * ones, 2)
    assert one.newest(0, 4, 4)[0, 0, :, 0].tolist() == [1, 1, 7, 7]
    assert other.newest(0, 3, 3)[0, 0, :, 0].tolist() == [1, 5, 5]
    one.keep(4, 3, [0, 2])
    assert one.newest(0, 3, 3)[0, 0, :, 0].tolist() == [1, 1, 7]


@pytest.mark.parametrize("newest", [0, 3, None])
def test_drafts_and_their_rejection_leave_no_mark(engine, newest):
    prompts = ["the cat and the hat and the cat in the hat", "zq"]
    plain = Installed(cache=CachePlan(Toy(newest=newest, every=7, count=1.5)))
    base = outputs(engine, prompts, installed=plain, max_new_tokens=30)
    answers = {tuple(engine.tokenizer.encode(prompts[int(o.id)])): list(o.token_ids) for o in base}
    beset = [(3, [(0, [250, 251]), (1, [252])]), (1, [(1, [253, 254, 255])]), (4, [(2, [256])])]
    for proposals in ([(4, [])], [(2, [(2, [250, 251])])], beset):
        drafter = knowing(answers, proposals)
        drafting = Installed(cache=CachePlan(Toy(newest=newest, every=7, count=1.5)), draft=drafter)
        drafted = outputs(engine, prompts, installed=drafting, max_new_tokens=30)
        assert tokens_of(drafted) == tokens_of(base)
        assert sum(o.trace.accepted for o in drafted) > 10
        if proposals is beset:
            assert any(len(tree) > 4 for tree in drafter.made)


def test_compiled_operations_and_torchs_own_show_and_keep_the_same(tiny_loaded, monkeypatch):
    toys = [Toy(count=1.5), Toy(count=1.5)]
    made = []
    for toy, fused in zip(toys, (True, False), strict=True):
        engine = engine_of(tiny_loaded)
        if not fused:
            engine.llama._stack = None
        made.append(
            outputs(
                engine, ["the cat"], installed=Installed(cache=CachePlan(toy)), max_new_tokens=20
            )
        )
    assert tokens_of(made[0]) == tokens_of(made[1])
    pairs = zip(toys[0].seen, toys[1].seen, strict=True)
    assert all(np.allclose(a, b, atol=1e-4) for a, b in pairs)


@dataclass(frozen=True)
class Lying(Toy):
    """Keeps one entry fewer than it says."""

    def compact(self, held, border):
        return replace(Toy(), keeps=self.keeps - 1).compact(held, border)


def test_a_decision_that_keeps_other_entries_than_it_says_is_refused(engine):
    with pytest.raises(MethodError, match="kept 5 entries and said 6"):
        running(engine, Lying(), TEXT[:40])


def test_bfloat16_caches_are_compacted_in_their_own_format(tiny_loaded):
    engine = engine_of(tiny_loaded, dtype=torch.bfloat16)
    _, cache = running(engine, Toy(count=2.0), TEXT[:40])
    assert cache.held(0, 0).dtype == torch.bfloat16
    assert torch.isfinite(step(engine, cache, TEXT[40:42]).float()).all()
