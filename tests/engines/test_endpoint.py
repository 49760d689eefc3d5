"""The endpoint sampler against a server that fails in every way: books, draws and keys hold."""

from __future__ import annotations

import json
import logging
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("httpx", reason="needs the `endpoint` extra")

from engines.faulty_server import (
    PROMPT_TOKENS,
    QUICK,
    WORDS,
    chunk,
    echoing,
    faulty_server,
    good,
    half,
    hang,
    malformed,
    reset,
    status,
    usage,
    without,
)
from rheostat.engines.base import Request, Sampling
from rheostat.engines.endpoint_books import UsdPrices, shares
from rheostat.engines.endpoint_sampler import EndpointSampler
from rheostat.engines.sampler import Draw
from rheostat.errors import ModelError, UserError
from rheostat.kernel.budget import Caps
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.records import Refusal

BREAKS = {"half": half, "malformed": malformed, "reset": reset, "hang": hang}
IMPATIENT = replace(QUICK, silence=1.0)
ANSWER = "".join(WORDS)


@pytest.fixture(scope="module")
def server():
    with faulty_server() as running:
        yield running


def draw(index=0, *, prompt=None, **options):
    messages = () if prompt else ({"role": "user", "content": "Count."},)
    request = Request(id="q", prompt=prompt, messages=messages)
    sampling = Sampling(**{"max_new_tokens": 20, "temperature": 0.7} | options)
    return Draw(question="q", index=index, request=request, sampling=sampling)


def answered(met, one=None, *, caps=None, **options):
    """Draw once; return what came back and the books."""
    ledger, one = Ledger(caps), one or draw()
    with closing(EndpointSampler(met, **options)) as sampler:
        sampler.launch(one, ledger.reserve(sampler.bound(one), note="q 0"))
        (drawn,) = sampler.poll()
        assert sampler.poll() == []
    assert drawn.output.cost == ledger.spent
    assert not ledger.reserved.tokens
    return drawn, ledger


@contextmanager
def complaint(*words):
    """A sentence with a hint that says this much."""
    with pytest.raises(ModelError) as caught:
        yield
    assert caught.value.hint
    for word in words:
        assert word in caught.value.message


def test_usage_is_the_servers(server):
    drawn, ledger = answered(server.met(good()), usd=UsdPrices(prompt=1e6, new=2e6))
    assert (drawn.output.text, drawn.output.stop_reason) == (ANSWER, "eos")
    assert (ledger.spent.prompt_tokens, ledger.spent.new_tokens) == (PROMPT_TOKENS, len(WORDS))
    assert (ledger.spent.calls, ledger.spent.usd) == (1, PROMPT_TOKENS + 2 * len(WORDS))


def test_calls_that_are_turned_away_are_repeated_and_cost_nothing(server):
    acts = status(500), status(429, Retry_After="0"), good()
    drawn, ledger = answered(server.met(*acts))
    assert drawn.output.text == ANSWER
    assert (len(server.bodies), ledger.spent.calls) == (3, 1)
    assert ledger.spent.tokens == PROMPT_TOKENS + len(WORDS)


def test_a_server_that_goes_on_failing_ends_the_draw(server):
    drawn, ledger = answered(server.met(*[status(503)] * QUICK.tries))
    assert "503" in drawn.failed
    assert ledger.spent.tokens == 0


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_answer_counts_in_full_and_is_asked_for_again(server, name):
    met = server.met(BREAKS[name], good(), limits=IMPATIENT)
    bound = EndpointSampler(met).bound(draw())
    drawn, ledger = answered(met)
    assert drawn.output.text == ANSWER
    assert ledger.spent.estimated
    assert ledger.spent.tokens == bound.tokens + PROMPT_TOKENS + len(WORDS)


@pytest.mark.parametrize("name", BREAKS)
def test_without_budget_a_broken_answer_is_not_asked_for_again(server, name):
    met = server.met(BREAKS[name], limits=IMPATIENT)
    bound = EndpointSampler(met).bound(draw())
    drawn, ledger = answered(met, caps=Caps(tokens=bound.tokens))
    assert "budget" in drawn.failed
    assert ledger.spent.tokens == bound.tokens


def test_missing_usage_counts_as_the_whole_reservation(server):
    drawn, ledger = answered(server.met(good("no")))
    assert drawn.output.text == ANSWER
    assert ledger.spent.estimated
    assert ledger.spent.new_tokens == 20


def test_usage_over_the_reservation_is_an_overrun(server):
    _, ledger = answered(server.met(good(usage(new=21))))
    assert [record.kind for record in ledger.records] == ["overrun"]
    assert ledger.closed
    assert ledger.spent.new_tokens == 21


def test_usage_under_what_was_seen_is_not_believed(server):
    drawn, ledger = answered(server.met(good(usage(new=1), logprobs=True)))
    assert ledger.spent.new_tokens == len(WORDS)
    assert drawn.logprobs is None or len(drawn.logprobs) == len(WORDS)


def slowly(handler, _):
    handler.stream_begins()
    handler.event(chunk(WORDS[0], logprob=-0.5))
    handler.server.closing.wait(30)


@pytest.mark.parametrize(("act", "new"), [(slowly, 1), (hang, len(WORDS[0]))])
def test_cancelled_work_is_charged(server, act, new):
    ledger, one, seen = Ledger(), draw(), []
    with closing(EndpointSampler(server.met(act))) as sampler:
        bound = sampler.bound(one)

        def written(got, text):
            seen.append(text)
            sampler.cancel(got)

        sampler.on_piece = written
        sampler.launch(one, ledger.reserve(bound))
        (drawn,) = sampler.poll()
    assert (drawn.output.stop_reason, drawn.output.text) == ("cancelled", "".join(seen))
    assert ledger.spent.estimated
    assert (ledger.spent.prompt_tokens, ledger.spent.new_tokens) == (bound.prompt_tokens, new)


def test_a_draw_that_was_never_sent_costs_nothing(server):
    ledger, met = Ledger(), server.met(*[hang] * 9, limits=replace(QUICK, connections=1))
    with closing(EndpointSampler(met)) as sampler:
        sampler.on_piece = lambda *_: [sampler.cancel(draw(i)) for i in (1, 0)]
        for i in range(2):
            sampler.launch(draw(i), ledger.reserve(sampler.bound(draw(i))))
        back = {d.draw.index: d.output for _ in range(2) for d in sampler.poll()}
    assert back[1].cost.tokens == 0 < back[0].cost.tokens


def test_a_deadline_ends_what_runs(server):
    ledger = Ledger(Caps(seconds=0.2))
    with closing(EndpointSampler(server.met(hang))) as sampler:
        sampler.launch(draw(), ledger.reserve(sampler.bound(draw())))
        (drawn,) = sampler.poll()
    assert drawn.output.stop_reason == "budget"


def test_what_a_server_refuses_is_asked_for_once(server):
    met = server.met(*[without("logprobs")] * 9)
    with closing(EndpointSampler(met)) as sampler:
        for i in range(3):
            sampler.launch(draw(i), Ledger().reserve(sampler.bound(draw(i))))
            (drawn,) = sampler.poll()
            assert (drawn.output.text, drawn.logprobs) == (ANSWER, None)
    assert len(server.bodies) == 4


@pytest.mark.parametrize("act", [good(), without("logprobs")])
def test_missing_logprobs_are_said_where_they_are_needed(server, act):
    with closing(EndpointSampler(server.met(act, act), needs_logprobs=True)) as sampler:
        sampler.launch(draw(), Ledger().reserve(sampler.bound(draw())))
        assert len(sampler.poll()) == 1
        with complaint("log-probabilities"):
            sampler.poll()


def test_logprobs_are_given_one_a_token(server):
    drawn, _ = answered(server.met(good(logprobs=True)))
    assert drawn.logprobs == (-0.5,) * len(WORDS)


@pytest.mark.parametrize("code", [401, 404])
def test_a_failure_of_every_call_ends_the_run_after_the_draws_came_back(server, code):
    with closing(EndpointSampler(server.met(*[status(code)] * 2))) as sampler:
        ledger = Ledger()
        for i in range(2):
            sampler.launch(draw(i), ledger.reserve(sampler.bound(draw(i))))
        back, said = [], []
        while len(back) < 2 or not said:
            try:
                back += sampler.poll()
            except ModelError as error:
                said.append(str(error))
        assert all(str(code) in drawn.failed for drawn in back)
        assert all(str(code) in sentence for sentence in said)
    assert ledger.spent.tokens == 0


def test_too_long_a_prompt_ends_as_context(server):
    refusal = '{"error": {"code": "context_length_exceeded", "message": "too long"}}'
    drawn, ledger = answered(server.met(status(400, refusal)))
    assert (drawn.output.stop_reason, drawn.failed, ledger.spent.tokens) == ("context", "", 0)


@pytest.mark.parametrize("code", [400, 401, 418, 500])
def test_a_key_is_nowhere(server, code, caplog):
    caplog.set_level(logging.DEBUG)
    met, ledger = server.met(*[echoing(code)] * QUICK.tries, key="sk-very/secret"), Ledger()
    with closing(EndpointSampler(met)) as sampler:
        sampler.launch(draw(), ledger.reserve(sampler.bound(draw()), note="q 0"))
        (drawn,) = sampler.poll()
    assert server.seen == {"Bearer sk-very/secret"}
    written = [repr(met), repr(drawn), json.dumps(drawn.output.to_json()), caplog.text]
    written += [json.dumps(record.to_json()) for record in ledger.records]
    assert drawn.failed
    assert not any("secret" in text for text in written)


@pytest.mark.parametrize(
    ("dialect", "sent"),
    [
        ("llamacpp", {"top_k": 0, "min_p": 0.1, "repeat_penalty": 1.2, "timings_per_token": True}),
        ("vllm", {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.2}),
        (None, {"min_p": 0.1, "repetition_penalty": 1.2}),
    ],
)
def test_every_sampling_parameter_reaches_the_server(server, dialect, sent):
    one = draw(prompt="A", min_p=0.1, repetition_penalty=1.2, top_p=0.9, stop=("x",), seed=3)
    answered(server.met(good(), dialect=dialect), one)
    (body,) = server.bodies
    sent = sent | {"top_p": 0.9, "stop": ["x"], "max_tokens": 20, "temperature": 0.7, "model": "m"}
    assert {name: body.get(name) for name in sent} == sent
    assert body["stream"]
    assert isinstance(body["seed"], int)


def test_a_parameter_that_would_be_passed_over_is_refused(server):
    with closing(EndpointSampler(server.met(dialect="library"))) as sampler:
        with pytest.raises(UserError, match="Ollama"):
            sampler.check(Sampling(top_k=5))
        sampler.check(Sampling(top_p=0.5))


def test_bounds_of_prompts_shrink_to_what_the_server_counts(server):
    with closing(EndpointSampler(server.met(good()))) as sampler:
        before = sampler.bound(draw())
        sampler.launch(draw(), Ledger().reserve(before))
        sampler.poll()
        assert sampler.bound(draw()).prompt_tokens == PROMPT_TOKENS < before.prompt_tokens


def several(handler, body):
    """As many answers as are asked for, the second one longer."""
    handler.stream_begins()
    for index in range(body.get("n", 1)):
        for word in WORDS[: 1 + index]:
            piece = chunk(word, logprob=-0.5)
            piece["choices"][0]["index"] = index
            handler.event(piece)
        piece = chunk(finish="stop")
        piece["choices"][0]["index"] = index
        handler.event(piece)
    handler.event(chunk(usage=usage(new=sum(range(1, 1 + body.get("n", 1))))))


@pytest.mark.parametrize(
    ("act", "calls", "answered", "texts"),
    [(several, 2, 2, {1, 2, 3}), (good(), 4, 4, {3}), (without("n"), 5, 4, {3})],
)
def test_samples_asked_for_together_share_their_prompt(server, act, calls, answered, texts):
    ledger, met = Ledger(), server.met(*[act] * 6, limits=replace(QUICK, together=3))
    with closing(EndpointSampler(met)) as sampler:
        for i in range(4):
            sampler.launch(draw(i), ledger.reserve(sampler.bound(draw(i))))
        back = []
        while got := sampler.poll():
            back += got
    assert sorted(drawn.draw.index for drawn in back) == [0, 1, 2, 3]
    assert {len(drawn.output.text.split()) for drawn in back} == texts
    assert len(server.bodies) == calls
    assert ledger.spent.calls == answered
    assert ledger.spent.prompt_tokens == answered * PROMPT_TOKENS
    assert not ledger.reserved.tokens


def test_shares_stay_within_their_rooms():
    assert shares(9, [1, 2, 3], [20, 20, 20]) == [2, 3, 4]
    assert shares(9, [0, 0, 9], [4, 4, 4]) == [4, 1, 4]
    assert shares(15, [1, 1, 1], [4, 4, 4]) == [7, 4, 4]


ACTS = {
    "good": good(),
    "500": status(500),
    "400": status(400),
    "no usage": good("no"),
    "several": several,
    "too many": good(usage(new=35, prompt=400)),
    "cut": good(finish="length"),
    **{name: act for name, act in BREAKS.items() if name != "hang"},
    "hang": hang,
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(st.sampled_from(sorted(ACTS)), max_size=12),
    cap=st.integers(0, 1500),
    cancelled=st.sets(st.integers(0, 5)),
    together=st.integers(1, 3),
)
def test_no_cap_is_passed_and_every_draw_comes_back_once(server, script, cap, cancelled, together):
    limits = replace(IMPATIENT, silence=0.05, together=together)
    met = server.met(*(ACTS[name] for name in script), limits=limits)
    ledger, launched, back = Ledger(Caps(tokens=cap)), set(), []
    with closing(EndpointSampler(met)) as sampler:
        for i in range(6):
            one = draw(i)
            reservation = ledger.try_reserve(sampler.bound(one))
            if isinstance(reservation, Refusal):
                continue
            sampler.launch(one, reservation)
            launched.add(i)
            if i in cancelled:
                sampler.cancel(one)
        while got := sampler.poll():
            back += [drawn.draw.index for drawn in got]
    assert sorted(back) == sorted(launched)
    assert ledger.reserved.tokens == 0
    over = any(record.kind == "overrun" for record in ledger.records)
    assert over == bool(ledger.closed)
    assert over or ledger.spent.tokens <= cap


def test_closing_settles_what_runs(server):
    ledger = Ledger()
    with closing(EndpointSampler(server.met(hang, hang))) as sampler:
        for i in range(2):
            sampler.launch(draw(i), ledger.reserve(sampler.bound(draw(i))))
    assert ledger.reserved.tokens == 0
    assert ledger.spent.tokens <= 2 * sampler.bound(draw()).tokens
