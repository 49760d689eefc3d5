"""One call for the attention of many rows: torch's results, and a row's own in any company."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.torch_rig import full
from rheostat.engines.fused_build import fused_library
from rheostat.engines.torch_attend_rows import OneToken, RowsAttention
from rheostat.engines.torch_cache import Borders, RowCache
from rheostat.engines.torch_fused import FUSED_ROWS, fused_ops
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed, Llama
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.model_cost import ModelShape
from rheostat.kernel.policies.all_or_one import AllOrOne

BUILT = fused_library()
pytestmark = pytest.mark.skipif(BUILT.library is None, reason=BUILT.reason or "built")
FORMATS = [
    (torch.float32, torch.float32),
    (torch.float32, torch.bfloat16),
    (torch.bfloat16, torch.bfloat16),
]
SLOTS = 2


class Rows:
    """Caches of drawn lengths, cut where it is asked, and a new token for each."""

    def __init__(self, lengths, *, kv, group, size, formats, seed=0):
        self.stream, self.product = formats
        self.kv, self.group, self.size, self.lengths = kv, group, size, lengths
        self.draw = torch.Generator().manual_seed(seed)
        n = len(lengths)
        held = [self.drawn(SLOTS, length, 2, kv, size) for length in lengths]
        self.held = [row.to(self.stream) for row in held]
        self.qkv = self.drawn(n, (group + 2) * kv * size).to(self.product)
        self.turns = torch.polar(torch.ones(n, size // 2), self.drawn(n, size // 2))

    def drawn(self, *shape):
        return torch.randn(*shape, generator=self.draw)

    def cache(self, row, cuts=()):
        """A row's cache, forked where it is cut."""
        size, kv = self.size, self.kv
        heads = kv * self.group
        shape = ModelShape(
            layers=SLOTS,
            width=heads * size,
            heads=heads,
            kv_heads=kv,
            head_size=size,
            inner=8,
            vocabulary=9,
            context=999,
        )
        cache = RowCache(shape, SLOTS, capacity=1, dtype=self.stream)
        for a, b in pairwise([0, *sorted(cuts), self.lengths[row]]):
            if a:
                cache = cache.fork(capacity=1)
            cache.make_room(b - a)
            for slot in range(SLOTS):
                cache.put(slot, self.held[row][slot, a:b])
            cache.advance(b - a)
        cache.make_room(1)
        return cache

    def attended(self, caches, slot, rows=None):
        """What one call makes of these rows; all of them without an argument."""
        rows = range(len(caches)) if rows is None else rows
        ones = [OneToken(cache.parts(), i) for i, cache in enumerate(caches)]
        out = torch.full((len(caches), self.group * self.kv * self.size), -7.0)
        out = out.to(self.product)
        attend = self.ops.attend.of(ones, kv_heads=self.kv, group=self.group)
        attend(self.qkv[list(rows)], self.turns[list(rows)], slot, out)
        return out

    @property
    def ops(self):
        return fused_ops(self.stream, self.product).ops

    def one_by_one(self, caches, slot):
        """What the calls for single rows make of them."""
        outs = []
        for i, cache in enumerate(caches):
            own = slice(i, i + 1)
            room = cache.room(slot, 1)
            queries = self.ops.turn(self.qkv[own], self.turns[own], room, self.group)
            keys, values = cache.held(slot, 1).permute(1, 2, 0, 3)[:, None]
            outs.append(torch.empty(1, self.group * self.kv * self.size, dtype=self.product))
            self.ops.gather(F.scaled_dot_product_attention(queries, keys, values), outs[-1])
        return torch.cat(outs)


def rows_of(**more):
    sizes = {
        "kv": st.integers(1, 3),
        "group": st.integers(1, 6),
        "size": st.sampled_from([2, 8, 20, 64, 80, 128]),
        "formats": st.sampled_from(FORMATS),
        "seed": st.integers(0, 9),
    }
    lengths = st.lists(st.integers(0, 200), min_size=1, max_size=6)
    return st.builds(Rows, lengths, **sizes | more)


def cuts_of(data, rows):
    """Places in every row at which its cache is cut."""
    return [
        data.draw(st.sets(st.integers(1, length - 1), max_size=4)) if length > 1 else ()
        for length in rows.lengths
    ]


@settings(max_examples=40, deadline=None)
@given(rows=rows_of(), data=st.data(), slot=st.integers(0, SLOTS - 1))
def test_the_call_does_what_calls_for_single_rows_do(rows, data, slot):
    cuts = cuts_of(data, rows)
    one, other = ([rows.cache(i, cuts[i]) for i in range(len(rows.lengths))] for _ in range(2))
    found, wanted = rows.attended(one, slot), rows.one_by_one(other, slot)
    near = 1e-5 if rows.product == torch.float32 else 2**-6
    torch.testing.assert_close(found.float(), wanted.float(), rtol=near, atol=near)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.held(slot, 1), b.held(slot, 1))
        assert torch.equal(a.held(1 - slot, 0), b.held(1 - slot, 0))


@settings(max_examples=40, deadline=None)
@given(rows=rows_of(), data=st.data())
def test_a_row_has_the_same_bits_in_any_company_and_in_any_parts(rows, data):
    count = len(rows.lengths)
    cuts = cuts_of(data, rows)
    together = rows.attended([rows.cache(i) for i in range(count)], 1)
    cut = rows.attended([rows.cache(i, cuts[i]) for i in range(count)], 1)
    assert torch.equal(cut, together)
    for i in range(count):
        assert torch.equal(rows.attended([rows.cache(i, cuts[i])], 1, [i])[0], together[i])


def test_rows_that_share_a_part_do_not_write_into_it():
    rows = Rows([40, 40, 40], kv=2, group=2, size=16, formats=FORMATS[0])
    rows.held = [rows.held[0]] * 3
    first = rows.cache(0)
    caches = [first.fork(capacity=1), first.fork(capacity=1), rows.cache(2)]
    before = first.held(0, 0).clone()
    found = rows.attended(caches, 0)
    assert torch.equal(first.held(0, 0), before)
    assert torch.equal(found, rows.attended([rows.cache(i) for i in range(3)], 0))


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(AllOrOne, "all", lambda choice: True)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            rows = Rows([0, 3, 150, 31, 60], kv=3, group=3, size=64, formats=FORMATS[0])
            caches = [rows.cache(i) for i in range(5)]
            found += [rows.attended(caches[:n], 0) for n in (1, 5)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(found[2:], found, strict=False))


def test_what_is_no_number_stays_in_its_row():
    rows = Rows([5, 5, 5], kv=1, group=2, size=8, formats=FORMATS[0])
    rows.qkv[1, -1] = float("nan")
    found = rows.attended([rows.cache(i) for i in range(3)], 0)
    assert found[[0, 2]].isfinite().all()
    assert found[1].isnan().any()


def test_a_call_that_computes_something_else_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path))  # where none was found right before
    fused_library.cache_clear()
    right = RowsAttention.__call__

    def wrong(self, qkv, turns, slot, out):
        right(self, qkv, turns, slot, out)
        out.mul_(1.05)

    monkeypatch.setattr(RowsAttention, "__call__", wrong)
    fused_ops.cache_clear()
    try:
        reasons = {fused_ops(*formats).reason for formats in FORMATS}
    finally:
        fused_library.cache_clear()
        fused_ops.cache_clear()
    assert reasons == {"the compiled operations do not agree with torch's"}


# in a model


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def models(request, deep_loaded):
    return [
        Llama(deep_loaded, dtype=request.param, forms=Forms(), fused=fused)
        for fused in (True, False)
    ]


def read_rows(model, count, *, tokens=3):
    caches = [empty_cache(model, full(model).layout, capacity=1) for _ in range(count)]
    for i, cache in enumerate(caches):
        text = [5 + (3 * i + j) % 40 for j in range(tokens)]
        model.forward([Feed(cache, text, -tokens)], full(model), logit_rows=[])
    return caches


def step(model, caches, given=None):
    given = given or [[7 + i % 30] for i in range(len(caches))]
    feeds = [Feed(cache, tokens, 0) for cache, tokens in zip(caches, given, strict=True)]
    return model.forward(feeds, full(model), logit_rows=None).logits


def test_forked_and_copied_rows_go_on_with_the_same_bits(models):
    model, _ = models
    caches = read_rows(model, 3)
    copies = [cache.copied(room=4) for cache in caches]
    forks = [cache.fork(capacity=1) for cache in caches]
    for token in ([8], [9], [10]):
        forks = [cache.fork(capacity=1) for cache in forks]
        assert torch.equal(step(model, copies, [token] * 3), step(model, forks, [token] * 3))
    for one, other in zip(copies, forks, strict=True):
        assert torch.equal(one.held(1, 0), other.held(1, 0))


def test_rows_of_several_tokens_stand_beside_those_of_one(models):
    found = []
    for model in models:
        caches = read_rows(model, 4)
        caches[3].borders = Borders(2, 50)
        found.append(step(model, caches, [[9], [10, 11, 12], [13], [14]]))
    tolerance = 1e-4 if models[0].dtype == torch.float32 else 0.25
    assert (found[0] - found[1]).abs().max() < tolerance


def test_steps_of_more_rows_than_tokens_of_a_small_pass_are_fused_too(models, monkeypatch):
    fused, plain = models
    wanted = step(plain, read_rows(plain, FUSED_ROWS + 3))
    caches = read_rows(fused, FUSED_ROWS + 3)
    monkeypatch.delattr(Llama, "_layered")
    tolerance = 1e-4 if fused.dtype == torch.float32 else 0.25
    assert (step(fused, caches) - wanted).abs().max() < tolerance
