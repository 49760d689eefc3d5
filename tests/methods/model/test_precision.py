"""Precision: what it names does the work, and the base stays what it was."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat.catalog import installed
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_load import load_torch
from rheostat.errors import MethodError
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Installed, Layout
from rheostat.methods.model.precision import Precision

REQUESTS = [Request(id="1", prompt="the cat on the mat"), Request(id="2", prompt="is it on")]
SAMPLING = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def engine(tiny_gguf):
    return load_torch(str(tiny_gguf), threads=1)


@pytest.fixture(scope="module")
def other(tiny_gguf):
    return load_torch(str(tiny_gguf), dtype="bfloat16", threads=1)


def decision(engine, dial=1.0):
    setting = Setting(name="precision", dial=dial, params={"format": "bfloat16"})
    plan = Plan(model=engine.model, methods=(setting,))
    return installed(plan, engine.shape, engine.card.offers)


def answers(engine, installed):
    return {o.id: o.token_ids for o in engine.generate(REQUESTS, SAMPLING, installed=installed)}


def test_the_format_that_is_named_does_the_work(engine, other):
    own = decision(engine)
    assert answers(engine, own) == answers(other, Installed())
    prompt = engine.encode(REQUESTS[0])
    read, theirs = (
        e.score(prompt, [5, 6, 7], installed=i) for e, i in ((engine, own), (other, Installed()))
    )
    assert np.array_equal(read.nats, theirs.nats)
    assert read.cost.bytes == theirs.cost.bytes


def test_fewer_bytes_are_read_and_the_base_stays_as_it_was(engine, other):
    before = engine.score(engine.encode(REQUESTS[0]), [5, 6, 7], installed=Installed())
    decided = engine.score(engine.encode(REQUESTS[0]), [5, 6, 7], installed=decision(engine))
    after = engine.score(engine.encode(REQUESTS[0]), [5, 6, 7], installed=decision(engine, 0.0))
    assert np.array_equal(before.nats, after.nats)
    assert not np.array_equal(before.nats, decided.nats)
    layout = Layout.full(engine.shape.layers)
    sizes = [e.pass_work(1, context=9, layout=layout, head_rows=1).bytes for e in (engine, other)]
    assert sizes[1] < 0.75 * sizes[0]  # the head is scanned in other ways


def test_a_format_that_is_no_dial_is_refused():
    with pytest.raises(MethodError, match="`float64` is no number format that a plan can choose"):
        Precision(format="float64")
