"""The endpoint as an engine: it is met before any work, runs without methods, refuses the rest."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

pytest.importorskip("httpx", reason="needs the `endpoint` extra")

from engines.faulty_server import (
    PROMPT_TOKENS,
    WORDS,
    faulty_server,
    good,
    hang,
    status,
)
from rheostat.cli import app
from rheostat.engines.base import Request, Sampling
from rheostat.engines.endpoint_address import Address, key_for, parse_address
from rheostat.engines.endpoint_engine import EndpointEngine
from rheostat.engines.endpoint_limits import Limits, retry_after
from rheostat.engines.endpoint_server import meet
from rheostat.errors import MethodError, ModelError, UserError
from rheostat.kernel.budget import Caps
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed

ANSWER = "".join(WORDS)
KEYS = {"RHEOSTAT_API_KEY": "own", "OPENAI_API_KEY": "usual"}


@pytest.fixture
def server(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    with faulty_server() as running:
        yield running


def command(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def refused(result, *words):
    """Exit code 2, one sentence that says this, and a hint."""
    assert result.exit_code == 2, result.output
    assert "hint: " in result.stderr
    for word in words:
        assert word in result.stderr


def requests_file(folder, count=3):
    path = folder / "requests.jsonl"
    lines = [{"messages": [{"role": "user", "content": f"Count {i}."}]} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


# before any work


@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (401, b"{}", "wants a key"),
        (200, b"<html>hello</html>", "does not answer like"),
        (200, b'{"data": 3}', "does not answer like"),
        (404, b"not found", "does not answer like"),
        (500, b'{"error": {"message": "on fire"}}', "on fire"),
        (200, b'{"data": [{"id": "other"}]}', "does not serve `m`"),
        (200, b'{"data": []}', "does not serve `m`"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_in_words(server, code, body, words):
    server.listing = code, body
    refused(command("generate", server.address.name, "hi"), words)


def test_a_slow_server_is_refused_in_words(server):
    server.listing = "silence"
    limits = Limits(silence=0.2)
    with pytest.raises(ModelError, match="did not answer in time"):
        meet(server.address, limits=limits)


def test_the_kind_and_the_context_are_what_the_server_says(server):
    server.models = [{"id": "x", "aliases": ["m"], "owned_by": "vllm", "max_model_len": 64}]
    met = meet(server.address)
    assert (met.dialect.name, met.context) == ("vLLM", 64)


@pytest.mark.parametrize(
    ("base", "key"),
    [
        ("https://a.example/v1", "own"),
        ("http://a.example/v1", "own"),
        ("http://localhost:1/v1", "own"),
    ],
)
def test_rheostats_own_key_comes_first(base, key):
    address = Address(base=base, model="m")
    assert key_for(address, KEYS).header() == {"Authorization": f"Bearer {key}"}


def test_the_usual_key_is_not_sent_where_it_could_be_read_on_the_way():
    usual = {"OPENAI_API_KEY": " usual\n"}
    for base, sent in (
        ("https://a.b/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://a.b", False),
    ):
        assert bool(key_for(Address(base=base, model="m"), usual)) == sent


def test_a_key_that_no_header_can_carry_is_not_shown():
    with pytest.raises(ModelError) as caught:
        key_for(parse_address("https://a.b/v1#m"), {"OPENAI_API_KEY": "sécret"})
    assert "cret" not in str(caught.value)


def test_retry_after_is_seconds_or_a_date():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    texts = "3", "Thu, 01 Jan 2026 00:00:09 GMT", "soon", "nan", "-1", None
    assert [retry_after(text, now) for text in texts] == [3, 9, None, None, 0, None]


def test_pauses_grow_and_are_never_shorter_than_asked():
    rng, limits = random.Random(0), Limits(wait=1.0, longest_wait=4.0)
    pauses = [limits.pause(tries, None, rng) for tries in range(1, 9)]
    assert all(0.5 * own <= p <= 1.5 * own for p, own in zip(pauses, (1, 2, 4, 4), strict=False))
    assert limits.pause(1, 60.0, rng) > 60


def test_limits_of_the_environment_are_numbers():
    assert Limits.of_environment({"RHEOSTAT_ENDPOINT_CONNECTIONS": "3"}).connections == 3
    with pytest.raises(UserError, match="RHEOSTAT_ENDPOINT_SILENCE"):
        Limits.of_environment({"RHEOSTAT_ENDPOINT_SILENCE": "long"})


# runs


def test_generate_writes_the_answer(server):
    result = command("generate", server.address.name, "hi", "--json")
    output = json.loads(result.stdout.splitlines()[-1])
    assert (output["text"], output["token_ids"], output["stop_reason"]) == (ANSWER, [], "eos")
    assert output["cost"]["new_tokens"] == len(WORDS)


def test_a_run_that_failed_goes_on_where_it_was(server, tmp_path):
    requests = requests_file(tmp_path)
    line = ["run", f"base:{server.address.name}", "--requests", requests, "--out", tmp_path / "o"]
    server.script[:] = good(), status(401)
    refused(command(*line), "wants a key")
    assert command(*line).exit_code == 0
    outputs = (tmp_path / "o" / "outputs.jsonl").read_text().splitlines()
    assert [json.loads(output)["text"] for output in outputs] == [ANSWER] * 3
    assert len(server.bodies) == 4


def test_a_key_is_in_no_file_of_a_run(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    requests, out = requests_file(tmp_path), tmp_path / "o"
    result = command("run", f"base:{server.address.name}", "--requests", requests, "--out", out)
    assert result.exit_code == 0
    assert server.seen == {"Bearer sk-secret"}
    texts = [path.read_text() for path in out.iterdir()] + [result.output]
    assert not any("secret" in text for text in texts)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("generate", "hi", "--set", "copyspec=1"), "`copyspec` needs `draft`"),
        (("generate", "hi", "--constraint", "regex:a+"), "`awrs` needs `token`"),
        (("generate", "hi", "--constraint", "regex:a+", "--set", "awrs=off"), "no constraint"),
        (("profile", "--out", "p.json"), "shows nothing of a model's inside"),
        (("plan", "--workload", "r.jsonl", "--lossless", "--out", "p.json"), "nothing to plan"),
    ],
)
def test_what_needs_a_models_inside_is_refused_in_words(server, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({"prompt": f"text {i}", "reference": "x"}) + "\n" for i in range(40))
    (tmp_path / "r.jsonl").write_text("".join(lines))
    name, *rest = args
    refused(command(name, server.address.name, *rest), words)
    assert server.bodies == []


def engine_of(server, *acts):
    return EndpointEngine(server.met(*acts), model="m", digest="d")


def test_prices_and_scores_are_refused_in_words(server):
    engine = engine_of(server)
    for ask in (engine.prices, lambda: engine.score([1], [2], installed=Installed())):
        with pytest.raises(ModelError, match="behind an endpoint"):
            ask()
    with pytest.raises(MethodError, match="no method inside"):
        list(engine.generate([], Sampling(), installed=Installed(depth=object())))


@pytest.mark.parametrize("cap", [0, 300, 330, 600, 10_000])
def test_requests_run_side_by_side_within_the_budget(server, cap):
    ledger = Ledger(Caps(tokens=cap))
    requests = [Request(id=str(i), messages=({"role": "user", "content": "a"},)) for i in range(5)]
    engine = engine_of(server)
    outputs = list(
        engine.generate(requests, Sampling(max_new_tokens=30), installed=Installed(), ledger=ledger)
    )
    assert sorted(output.id for output in outputs) == [request.id for request in requests]
    answers = [output for output in outputs if output.stop_reason == "eos"]
    assert len(answers) == (0 if cap < 257 else 5)
    assert ledger.spent.tokens == len(answers) * (PROMPT_TOKENS + len(WORDS)) <= cap


def test_a_run_that_is_left_early_settles_its_requests(server):
    ledger = Ledger()
    requests = [Request(id=str(i), prompt="a") for i in range(3)]
    outputs = engine_of(server, good(), hang, hang).generate(
        requests, Sampling(), installed=Installed(), ledger=ledger
    )
    next(outputs)
    outputs.close()
    assert ledger.reserved.tokens == 0


def test_an_overrun_of_one_request_does_not_close_the_run(server):
    counts = {"prompt_tokens": 5000, "completion_tokens": 3}
    ledger = Ledger()
    requests = [Request(id=str(i), prompt="a") for i in range(2)]
    engine = engine_of(server, good(counts), good())
    outputs = [
        output
        for request in requests
        for output in engine.generate([request], Sampling(), installed=Installed(), ledger=ledger)
    ]
    assert [output.text for output in outputs] == [ANSWER] * 2
    assert [record.kind for record in ledger.records] == ["overrun", "charge"]
