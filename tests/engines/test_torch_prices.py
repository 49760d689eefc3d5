"""Measured prices: a disturbance that does not last leaves no mark on the table."""

from __future__ import annotations

import itertools

import pytest

from engines.torch_rig import llama_of
from rheostat.engines import torch_prices
from rheostat.engines.torch_prices import (
    CONTEXTS,
    MOST_REPEATS,
    REPEATS,
    TOKENS,
    TimedPass,
    measured_prices,
)
from rheostat.kernel.seams import Layout

ATTENTION, MLP, HEAD, FIXED = 2e-4, 3e-4, 1e-2, 1e-4
DECIDED, COMPACTED = 1e-4, 5e-5
"""What a part takes more under such a decision."""


class Clock:
    """A model that computes nothing; its clock goes on by what a pass is said to take."""

    def __init__(self, tiny, disturbed=lambda _call: 0.0):
        self.shape, self.dtype, self.device = tiny.shape, tiny.dtype, tiny.device
        self.offers, self.now = tiny.offers, 0.0
        self.calls, self._disturbed = itertools.count(), disturbed
        self.passes = 0

    def forward(self, feeds, depth, *, logit_rows, choices):
        (feed,), self.passes = feeds, self.passes + 1
        n = len(feed.tokens)
        seconds = FIXED + ATTENTION * sum(depth.layout.attention) + MLP * sum(depth.layout.mlp)
        seconds += HEAD * (1 + n / 64) if logit_rows is None else 0.0
        seconds += DECIDED * sum(depth.layout.mlp) if depth.policy else 0.0
        seconds += COMPACTED * sum(depth.layout.attention) if feed.cache.borders else 0.0
        self.now += seconds + self._disturbed(next(self.calls))
        feed.cache.pad(n)


@pytest.fixture
def tiny_model(tiny_loaded):
    return llama_of(tiny_loaded)


@pytest.fixture
def turn(tiny_model):
    """How many passes are timed in a turn."""
    fitting = [c for c in CONTEXTS if c + TOKENS[-1] <= tiny_model.shape.context] or [1]
    return (3 + len(fitting)) * len(TOKENS)


@pytest.fixture
def clocked(monkeypatch, tiny_model):
    def make(**kwargs):
        clock = Clock(tiny_model, **kwargs)
        monkeypatch.setattr(torch_prices.time, "perf_counter", lambda: clock.now)
        return clock

    return make


def test_prices_of_parts_are_those_of_the_passes(clocked, turn):
    clock = clocked()
    table = measured_prices(clock)
    assert table.head[0] == pytest.approx(HEAD * (1 + 1 / 64))
    assert table.mlp[0] == pytest.approx(MLP)
    assert [row[0] for row in table.attention] == pytest.approx([ATTENTION] * len(table.attention))
    assert clock.passes == REPEATS * turn


def test_a_machine_that_is_busy_for_some_turns_is_measured_until_it_is_not(clocked, turn):
    """For four turns passes with a head are slowed down, ever less, as by a program that ends."""

    def disturbed(call):
        done, place = divmod(call, turn)
        return 0.05 * max(0, 4 - done) if place // len(TOKENS) == 1 else 0.0

    clock = clocked(disturbed=disturbed)
    table = measured_prices(clock)
    assert table.head[0] == pytest.approx(HEAD * (1 + 1 / 64))
    assert clock.passes == 6 * turn


def test_a_machine_that_never_settles_is_measured_for_a_bounded_time(clocked, turn):
    clock = clocked(disturbed=lambda call: 0.05 * 0.5 ** (call // turn))
    measured_prices(clock)
    assert clock.passes == MOST_REPEATS * turn


def test_the_parts_of_other_ways_are_those_of_their_passes(clocked):
    plain, decided, compacted = (
        measured_prices(clocked(), way=way) for way in ("plain", "decided", "compacted")
    )
    assert decided.mlp[0] == pytest.approx(MLP + DECIDED)
    assert compacted.attention[0][0] == pytest.approx(ATTENTION + COMPACTED)
    assert decided.attention[0] == pytest.approx(plain.attention[0])
    assert compacted.mlp == pytest.approx(plain.mlp)


def test_a_timed_pass_leaves_its_cache_as_it_was(tiny_model):
    layers = tiny_model.shape.layers
    timed = TimedPass(tiny_model, Layout.full(layers), 8, tokens=(1, 4))
    timed.again()
    first = list(timed.seconds)
    timed.again()
    assert all(0 < b <= a for a, b in zip(first, timed.seconds, strict=True))


def test_a_model_that_is_run_as_a_whole_is_priced_as_a_whole(clocked):
    clock = clocked()
    clock.offers = frozenset({"draft"})
    prices, layers = measured_prices(clock), clock.shape.layers
    for n in (1, 8, 32):
        whole = prices.seconds(n, 32, attention=layers, mlp=layers, head_rows=n)
        seconds = FIXED + (ATTENTION + MLP) * layers + HEAD * (1 + n / 64)
        assert whole == pytest.approx(seconds, rel=1e-3)
