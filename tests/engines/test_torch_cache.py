"""A row's cache: truncate, keep, fork and growth, against lists and on a model."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engines.torch_rig import full, llama_of, read
from rheostat.engines.torch_cache import RowCache
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.model_cost import ModelShape

SHAPE = ModelShape(
    layers=2, width=8, heads=2, kv_heads=1, head_size=4, inner=8, vocabulary=9, context=64
)
SLOTS = 2
TEXT = np.random.default_rng(0).integers(4, 300, 30).tolist()


def entries(cache):
    """The first number of every held entry, per slot."""
    nothing = torch.empty(0, 2, SHAPE.kv_heads, SHAPE.head_size)
    return [cache.put(slot, nothing)[:, 0, 0, 0].tolist() for slot in range(SLOTS)]


class ForkedRows(RuleBasedStateMachine):
    """Caches that are written, cut and forked in any order hold what lists would hold."""

    @initialize(capacity=st.integers(1, 4))
    def start(self, capacity):
        self.rows = [(RowCache(SHAPE, SLOTS, capacity=capacity, dtype=torch.float32), [])]
        self.next = 0.0

    @rule(row=st.integers(0, 9), n=st.integers(1, 6), path=st.sets(st.integers(0, 5)))
    def write_and_keep_some(self, row, n, path):
        kept = sorted(place for place in path if place < n)
        self.write(row, n)
        cache, held = self.rows[row % len(self.rows)]
        cache.keep(n, kept)
        held[-n:] = [held[len(held) - n + place] for place in kept]

    @rule(row=st.integers(0, 9), n=st.integers(1, 6))
    def write(self, row, n):
        cache, held = self.rows[row % len(self.rows)]
        new = [self.next + i for i in range(n)]
        self.next += n
        cache.make_room(n)
        for slot in range(SLOTS):
            values = torch.tensor(new) + 1000 * slot
            kv = values.view(n, 1, 1, 1).expand(n, 2, SHAPE.kv_heads, SHAPE.head_size)
            assert cache.put(slot, kv)[:, 1, 0, 3].tolist() == [t + 1000 * slot for t in held + new]
        cache.advance(n)
        held += new

    @rule(row=st.integers(0, 9), part=st.floats(0, 1, exclude_max=True))
    def read_behind(self, row, part):
        """As an attention does whose window hides the first ones."""
        cache, held = self.rows[row % len(self.rows)]
        first = int(part * len(held))
        for slot in range(SLOTS if held else 0):
            found = cache.held(slot, 0, first=first)[:, 1, 0, 3].tolist()
            assert found == [t + 1000 * slot for t in held[first:]]

    @rule(row=st.integers(0, 9), part=st.floats(0, 1))
    def truncate(self, row, part):
        cache, held = self.rows[row % len(self.rows)]
        cache.truncate(int(part * len(held)))
        del held[int(part * len(held)) :]

    @rule(row=st.integers(0, 9), capacity=st.integers(1, 3))
    def fork(self, row, capacity):
        cache, held = self.rows[row % len(self.rows)]
        if len(self.rows) < 6:
            self.rows.append((cache.fork(capacity=capacity), list(held)))

    @invariant()
    def all_rows_hold_their_own(self):
        for cache, held in getattr(self, "rows", []):
            assert cache.length == len(held)
            assert entries(cache) == [held, [t + 1000 for t in held]]


TestForkedRows = ForkedRows.TestCase
TestForkedRows.settings = settings(max_examples=20, stateful_step_count=20)


@pytest.fixture(scope="module")
def tiny(tiny_loaded):
    return llama_of(tiny_loaded)


def filled(model, tokens):
    cache = empty_cache(model, full(model).layout, capacity=2)
    step(model, cache, tokens)
    return cache


def step(model, cache, tokens):
    return model.forward([Feed(cache, tokens, 0)], full(model), logit_rows=None).logits


def test_a_truncated_row_goes_on_as_if_nothing_had_been_there(tiny):
    cache = filled(tiny, TEXT)
    cache.truncate(10)
    logits = step(tiny, cache, [9, 8, 7])
    assert torch.allclose(logits, read(tiny, [*TEXT[:10], 9, 8, 7])[10:], atol=1e-5)


def test_a_growing_row_keeps_what_it_holds(tiny):
    logits = step(tiny, filled(tiny, TEXT[:29]), TEXT[29:])
    assert torch.allclose(logits, read(tiny, TEXT)[29:], atol=1e-5)


def test_forked_rows_go_on_exactly_as_unforked_ones(tiny):
    for fork_of_a_fork in (False, True):
        one = filled(tiny, TEXT)
        other = one.fork(capacity=1)
        other = other.fork() if fork_of_a_fork else other
        for cache, tail in ((one, [5, 6, 7]), (other, [9, 10, 11])):
            plain = filled(tiny, TEXT)
            for token in tail:
                forked, unforked = step(tiny, cache, [token]), step(tiny, plain, [token])
                assert torch.allclose(forked, unforked, atol=1e-5)


def test_forks_share_one_copy_of_what_both_hold(tiny):
    one = filled(tiny, TEXT)
    held = one._own.data_ptr()
    other, third = one.fork(capacity=1), one.fork(capacity=1)
    for cache in (one, other, third):
        assert [part.buffer.data_ptr() for part in cache._prefix] == [held]
    base = filled(tiny, TEXT)
    assert other.bytes == third.bytes < base.bytes / len(TEXT) * 2


@pytest.mark.parametrize("kept", [0, 7, len(TEXT)])
def test_truncating_and_writing_a_fork_leaves_the_other_bit_identical(tiny, kept):
    one = filled(tiny, TEXT)
    plain = step(tiny, filled(tiny, TEXT), [5])
    other = one.fork()
    other.truncate(kept)
    step(tiny, other, TEXT[::-1])
    assert torch.equal(step(tiny, one, [5]), plain)


def test_a_cache_without_slots_counts_its_tokens(tiny):
    cache = RowCache(tiny.shape, 0, capacity=1, dtype=torch.float32)
    cache.make_room(5)
    cache.advance(5)
    cache.fork().truncate(2)
    assert (cache.length, cache.bytes) == (5, 0)
