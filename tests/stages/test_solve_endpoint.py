"""Solving through a server that fails: caps hold, overruns are said, the journal goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("httpx", reason="needs the `endpoint` extra")

from engines.faulty_server import QUICK, faulty_server, good, half, malformed, reset, status, usage
from rheostat.engines.endpoint_sampler import EndpointSampler
from rheostat.engines.load_sampler import LoadedSampler
from rheostat.errors import ModelError
from rheostat.kernel.seams import Installed
from stages.counting_policies import Lead
from stages.sample_runs import samples_in, solved


@pytest.fixture(scope="module")
def server():
    with faulty_server() as running:
        yield running


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.jsonl"
    asked = [
        {"messages": [{"role": "user", "content": f"Count to {word}."}], "reference": reference}
        for word, reference in (("three", "one two three"), ("four", "one, two"), ("five", "five"))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in asked))
    return str(path)


def answered(met, tasks, out, **job):
    made = LoadedSampler(EndpointSampler(met), Installed(sample=Lead()))
    return solved(made, tasks, out, **{"tokens": 4000, **job})


def spent(line):
    return line["cost"]["prompt_tokens"] + line["cost"]["new_tokens"]


@pytest.mark.parametrize("tokens", [700, 1500, 4000])
def test_failures_are_charged_and_no_cap_is_passed(server, tasks, tmp_path, tokens):
    ways = [half, good(), status(500), malformed, good("no"), reset, status(429, Retry_After="0")]
    limits = replace(QUICK, hopeless=100)
    lines = answered(server.met(*ways, limits=limits), tasks, tmp_path / "run", tokens=tokens)
    assert len(lines) == 3
    assert sum(map(spent, lines)) <= tokens
    assert any(line["cost"]["estimated"] for line in lines)
    settled = [line for line in lines if line["settled"]]
    assert settled or tokens < 4000
    assert {line["answer"] for line in settled} <= {"one two three"}


def test_an_overrun_closes_its_question_and_is_said(server, tasks, tmp_path):
    met = server.met(good(usage(new=900)))
    lines = answered(met, tasks, tmp_path / "run", in_flight=1)
    assert sorted(line["stop_reason"] for line in lines) == ["budget", "settled", "settled"]
    (closed,) = [line for line in lines if line["stop_reason"] == "budget"]
    assert closed["cost"]["new_tokens"] == 900
    totals = json.loads((tmp_path / "run" / "solve.json").read_text())
    assert "overrun" in totals["overrun"]


def test_a_key_that_is_refused_is_one_sentence_and_the_journal_goes_on(server, tasks, tmp_path):
    first = [good(), good(), status(401)]
    with pytest.raises(ModelError, match="wants a key"):
        answered(server.met(*first), tasks, tmp_path / "run", in_flight=1)
    kept = len(samples_in(tmp_path / "run"))
    assert kept
    lines = answered(server.met(), tasks, tmp_path / "run", in_flight=1)
    assert all(line["settled"] for line in lines)
    assert lines[0]["correct"] is True
    assert len(samples_in(tmp_path / "run")) == sum(line["samples"] for line in lines)
