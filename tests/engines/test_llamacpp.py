"""llama.cpp in this process, with the embedded model."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

pytest.importorskip("xllamacpp", reason="needs the `llamacpp` extra")

from rheostat.engines.base import Request, Sampling
from rheostat.engines.endpoint_sampler import EndpointSampler
from rheostat.engines.llamacpp import load_llamacpp
from rheostat.engines.sampler import Draw
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed

pytestmark = pytest.mark.slow
QUESTION = Request(id="q", messages=({"role": "user", "content": "What is 2 + 3?"},))


@pytest.fixture(scope="module")
def engine():
    return load_llamacpp("smollm2", threads=1)


def draws(count, **options):
    sampling = Sampling(**{"max_new_tokens": 24, "temperature": 0.7} | options)
    return [Draw(question="q", index=i, request=QUESTION, sampling=sampling) for i in range(count)]


def drawn(engine, wanted, ledger, *, cancelled=()):
    with closing(engine.sampler()) as sampler:
        sampler.on_piece = lambda one, _: one.index in cancelled and sampler.cancel(one)
        for one in wanted:
            sampler.launch(one, ledger.reserve(sampler.bound(one)))
        back = {}
        while got := sampler.poll():
            back |= {each.draw.index: each for each in got}
    return [back[one.index] for one in wanted]


def test_the_greedy_answer_is_that_of_the_engine_here(engine, smollm2):
    from rheostat.engines.torch_load import load_torch

    own, sampling = load_torch("smollm2", dtype="gguf", threads=1), Sampling(max_new_tokens=16)
    here, there = (
        next(iter(which.generate([QUESTION], sampling, installed=Installed())))
        for which in (own, engine)
    )
    assert here.cost.prompt_tokens == there.cost.prompt_tokens
    assert here.text[:8] == there.text[:8]


def test_samples_have_logprobs_and_exact_costs(engine):
    ledger = Ledger()
    back = drawn(engine, draws(6), ledger)
    assert len({one.output.text for one in back}) > 1
    for one in back:
        missing = one.output.cost.new_tokens - len(one.logprobs)
        assert missing == (one.output.stop_reason == "eos")
    assert not ledger.spent.estimated
    assert ledger.spent.calls == 6


def test_a_cancelled_sample_is_charged_what_was_written(engine):
    ledger = Ledger()
    first, second = drawn(engine, draws(2, max_new_tokens=120), ledger, cancelled={0})
    assert first.output.stop_reason == "cancelled"
    assert 0 < first.output.cost.new_tokens < 120
    assert not ledger.spent.estimated
    assert second.output.stop_reason != "cancelled"


def test_samples_asked_for_together_read_their_prompt_once(engine):
    ledger = Ledger()
    limits = replace(engine.server.limits, together=3)
    with closing(EndpointSampler(replace(engine.server, limits=limits))) as sampler:
        for one in draws(3):
            sampler.launch(one, ledger.reserve(sampler.bound(one)))
        back = []
        while got := sampler.poll():
            back += got
        known = sampler.bound(draws(1)[0]).prompt_tokens
    assert sorted(one.draw.index for one in back) == [0, 1, 2]
    assert (ledger.spent.calls, ledger.spent.prompt_tokens) == (1, known)
    seen = sum(len(one.logprobs) for one in back)
    assert seen <= ledger.spent.new_tokens <= seen + 3


def test_a_stop_text_and_a_full_context_end_answers(engine):
    stopped, *_ = drawn(engine, draws(1, temperature=0, stop=("+",)), Ledger())
    assert stopped.output.stop_reason == "stop"
    assert "+" not in stopped.output.text
    long = Request(id="q", prompt="word " * 3000)
    (full,) = engine.generate([long], Sampling(), installed=Installed())
    assert (full.stop_reason, full.cost.tokens) == ("context", 0)
