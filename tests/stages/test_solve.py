"""Solving: one hard budget, launch order, kills, deadlines and verifiers."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys

import pytest

from rheostat.engines.load_sampler import load_sampler
from rheostat.engines.money import TokenPrices, read_prices
from rheostat.errors import BudgetError, ModelError, OutputError, WorkloadError
from rheostat.kernel.budget import Caps
from rheostat.kernel.seams import Installed
from stages import sample_runs
from stages.counting_policies import Lead
from stages.sample_runs import (
    NAMES,
    SAMPLES,
    answers_in,
    ending,
    loaded,
    recorded,
    samples_in,
    solved,
    write_inputs,
)

ENOUGH, TIGHT = 10_000, 60
FIELDS = ["id", "answer", "correct", "samples", "cost", "settled", "confidence"]
FIELDS += ["cannot_help", "stop_reason"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def replayed(inputs, tmp_path_factory):
    """The name of a recording of the scripted model."""
    model, tasks = inputs
    folder = tmp_path_factory.mktemp("recording") / "store"
    recorded(ending(model), tasks, folder)
    return f"replay:{folder}"


def spent(line):
    return line["cost"]["prompt_tokens"] + line["cost"]["new_tokens"]


def decided(lines):
    """What was answered and spent, without measured seconds."""
    return [{k: v for k, v in line.items() if k != "cost"} | {"t": spent(line)} for line in lines]


def test_every_question_has_a_line_in_the_order_of_the_tasks(inputs, tmp_path):
    model, tasks = inputs
    lines = solved(loaded(model, Lead()), tasks, tmp_path / "run", tokens=ENOUGH)
    assert [line["id"] for line in lines] == list(NAMES)
    assert all(list(line) == FIELDS for line in lines)
    by_id = {line["id"]: line for line in lines}
    assert by_id["easy"]["stop_reason"] == "settled"
    assert by_id["silent"] == by_id["silent"] | {
        "answer": None,
        "correct": False,
        "samples": SAMPLES,
        "stop_reason": "samples",
    }
    held = samples_in(tmp_path / "run")
    assert sum(line["samples"] for line in lines) == len(held)
    assert sum(map(spent, lines)) == sum(sample.cost.tokens for sample in held)


@pytest.mark.parametrize("tokens", [ENOUGH, TIGHT])
@pytest.mark.parametrize("burst", [1, 3])
@pytest.mark.parametrize("kind", ["scripted", "replay"])
def test_questions_in_flight_change_no_answer(inputs, replayed, tmp_path, kind, burst, tokens):
    model = inputs[0] if kind == "scripted" else replayed
    found = [
        decided(
            solved(
                loaded(model, Lead(burst=burst)),
                inputs[1],
                tmp_path / f"{in_flight}",
                tokens=tokens,
                in_flight=in_flight,
            )
        )
        for in_flight in (1, 2, 8)
    ]
    assert found[0] == found[1] == found[2]
    assert sum(line["t"] for line in found[0]) <= tokens


def test_batched_decoding_gives_the_same_answers_with_questions_in_flight(shallow, tmp_path):
    tasks = tmp_path / "tasks.jsonl"
    heads = ("the cat", "a hat", "in the star", "is it on", "and there")
    tasks.write_text("".join(json.dumps({"prompt": head}) + "\n" for head in heads))
    found = []
    for in_flight in (1, 8):
        made = load_sampler(shallow, install=lambda *_: Installed(sample=Lead(burst=3)))
        out = tmp_path / str(in_flight)
        lines = solved(made, str(tasks), out, tokens=600, in_flight=in_flight)
        kept = [(s.question, s.index, s.text, s.logprobs) for s in samples_in(out)]
        found.append((decided(lines), kept))
    assert found[0] == found[1]
    assert sum(line["t"] for line in found[0][0]) <= 600


def test_the_race_changes_no_answer(inputs, replayed, tmp_path):
    # the recording ends in the order of lengths, the scripted model in that of `durations`
    lines = [
        solved(loaded(model, Lead(burst=3)), inputs[1], tmp_path / str(i), tokens=ENOUGH)
        for i, model in enumerate((inputs[0], replayed))
    ]
    assert [line["answer"] for line in lines[0]] == [line["answer"] for line in lines[1]]


def test_a_tight_budget_binds_and_says_so(inputs, tmp_path):
    lines = solved(loaded(inputs[0], Lead()), inputs[1], tmp_path / "run", tokens=TIGHT)
    assert sum(map(spent, lines)) <= TIGHT
    assert "budget" in {line["stop_reason"] for line in lines}
    assert not any(line["settled"] for line in lines if line["stop_reason"] == "budget")


@pytest.mark.parametrize(("after", "tokens"), [(0, ENOUGH), (5, ENOUGH), (9, TIGHT), (14, ENOUGH)])
def test_a_killed_run_goes_on_and_draws_nothing_twice(inputs, tmp_path, after, tokens):
    model, tasks = inputs
    whole = ending(model, Lead(burst=2))
    expected = decided(solved(whole, tasks, tmp_path / "whole", tokens=tokens))
    program = [sys.executable, sample_runs.__file__, str(tokens), model, tasks]
    done = subprocess.run(
        [*program, str(tmp_path / "run"), str(after)],
        check=False,
        env=sample_runs.program_environment(),
    )
    assert done.returncode == -signal.SIGKILL
    kept = samples_in(tmp_path / "run")
    assert len(kept) >= after
    again = ending(model, Lead(burst=2))
    lines = solved(again, tasks, tmp_path / "run", tokens=tokens)
    assert decided(lines) == expected
    assert len(again.sampler.launches) == len(whole.sampler.launches) - len(kept)
    assert not {(s.question, s.index) for s in kept} & set(again.sampler.launches)


def test_work_that_a_kill_lost_is_charged_where_it_was_real(inputs, tmp_path, monkeypatch):
    model, tasks = inputs
    first = ending(model, Lead(burst=2), after=4, end=lambda: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError):  # the end that was set
        solved(first, tasks, tmp_path / "run", tokens=ENOUGH)
    again = ending(model, Lead(burst=2))
    real = type(again.sampler.card)(name="scripted", offers=frozenset({"sample"}))
    monkeypatch.setattr(again.sampler, "card", real, raising=False)
    lines = solved(again, tasks, tmp_path / "run", tokens=ENOUGH)
    assert any(line["cost"]["estimated"] for line in lines)
    assert sum(map(spent, lines)) > sum(s.cost.tokens for s in samples_in(tmp_path / "run"))


def test_another_run_is_refused(inputs, tmp_path):
    model, tasks = inputs
    solved(loaded(model, Lead()), tasks, tmp_path / "run", tokens=ENOUGH)
    for other in ({"tokens": TIGHT}, {"tokens": ENOUGH, "samples": 5}):
        with pytest.raises(OutputError, match="holds another run"):
            solved(loaded(model, Lead()), tasks, tmp_path / "run", **other)
    with pytest.raises(OutputError, match="kind of run"):
        recorded(loaded(model), tasks, tmp_path / "run")


def test_a_budget_without_room_for_a_sample_is_refused(inputs, tmp_path):
    with pytest.raises(BudgetError, match="no room for one sample: `tokens` would come to 9"):
        solved(loaded(inputs[0], Lead()), inputs[1], tmp_path / "run", tokens=8)


def test_a_deadline_answers_from_the_prefix_and_is_not_settled(inputs, tmp_path):
    ticks = itertools.count()
    lines = solved(
        loaded(inputs[0], Lead(by=9)),
        inputs[1],
        tmp_path / "run",
        budget=Caps(seconds=20),
        more={"clock": lambda: float(next(ticks))},
    )
    late = [line for line in lines if line["stop_reason"] == "deadline"]
    assert late
    assert not any(line["settled"] for line in late)
    assert any(line["answer"] for line in late)


def test_a_verified_sample_ends_its_question(inputs, tmp_path):
    lines = solved(
        loaded(inputs[0], Lead(by=9)),
        inputs[1],
        tmp_path / "run",
        tokens=ENOUGH,
        verifier="reference",
    )
    verified = [line for line in lines if line["stop_reason"] == "verified"]
    assert verified
    assert all(line["correct"] for line in verified)


def test_a_failing_verifier_leaves_every_sample_to_go_on_from(inputs, tmp_path):
    code = tmp_path / "own.py"
    code.write_text("def check(text):\n    if '3' in text: raise ValueError(text)\n    return 0")
    name, out = f"{code}:check", tmp_path / "run"
    first = ending(inputs[0], Lead(by=9))
    with pytest.raises(WorkloadError, match="raised ValueError"):
        solved(first, inputs[1], out, tokens=ENOUGH, verifier=name)
    kept = samples_in(out)
    assert kept
    code.write_text("def check(text):\n    return 0")
    again = ending(inputs[0], Lead(by=9))
    lines = solved(again, inputs[1], out, tokens=ENOUGH, verifier=name)
    assert not {(s.question, s.index) for s in kept} & set(again.sampler.launches)
    assert sum(line["samples"] for line in lines) == len(samples_in(out))


def test_money_is_counted_and_capped(inputs, tmp_path):
    table = tmp_path / "prices.json"
    table.write_text('{"*": {"prompt": 1000, "new": 10000}}')
    prices = read_prices(table, "any")
    assert prices == TokenPrices(prompt=1000, new=10000)
    made = load_sampler(inputs[0], install=lambda *_: Installed(sample=Lead()), prices=prices)
    lines = solved(made, inputs[1], tmp_path / "run", budget=Caps(usd=0.5), prices=prices)
    paid = sum(line["cost"]["usd"] for line in lines)
    assert 0 < paid <= 0.5
    with pytest.raises(BudgetError, match="needs the prices"):
        solved(loaded(inputs[0], Lead()), inputs[1], tmp_path / "b", budget=Caps(usd=1.0))
    table.write_text("{}")
    with pytest.raises(BudgetError, match="no line for"):
        read_prices(table, "any")


def test_more_samples_than_were_recorded_are_refused(inputs, replayed, tmp_path):
    with pytest.raises(ModelError, match=f"holds {SAMPLES} samples"):
        solved(loaded(replayed, Lead()), inputs[1], tmp_path / "r", tokens=ENOUGH, samples=7)


def test_a_solved_folder_is_a_recording_of_its_own(inputs, tmp_path):
    model, tasks = inputs
    out = tmp_path / "run"
    first = solved(loaded(model, Lead()), tasks, out, tokens=ENOUGH)
    again = solved(loaded(f"replay:{out}", Lead()), tasks, tmp_path / "again", tokens=ENOUGH)
    assert decided(first) == decided(again)
    assert answers_in(out) == first
