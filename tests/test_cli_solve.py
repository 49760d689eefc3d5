"""The commands `record` and `solve`: what scripts read, and bad input in one sentence."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import rheostat
from rheostat.cli import app
from rheostat.errors import UserError
from stages.sample_runs import NAMES, SAMPLES, answers_in, samples_in, write_inputs

DRAWN = ("--temperature", "1", "--max-new-tokens", "8")
SOLVE = ("solve", "scripted:spec.json", "--tasks", "tasks.jsonl", *DRAWN, "--out", "out")
LEAD = ("--rule", "lead_margin", "--samples", "6")
ENOUGH = ("--budget", "tokens=5000")
FILES = {
    "bad.jsonl": '{"prompt": "easy"}\n{"prompt": 3}\n',
    "prices.json": '{"*": {"prompt": -1, "new": 2}}',
    "raises.py": "def check(text):\n    raise ValueError('on purpose')\n",
    "notes/letter.txt": "dear",
}
BAD = [
    ((*SOLVE, "--budget", "tokens=1"), "no room for one sample"),
    ((*SOLVE, "--budget", "tokens"), "not of the form"),
    ((*SOLVE, "--budget", "coins=3"), "no part `coins`"),
    ((*SOLVE, "--budget", "usd=1"), "needs the prices of tokens"),
    ((*SOLVE, "--budget", "usd=1", "--prices", "absent.json"), "cannot be read"),
    ((*SOLVE, "--budget", "usd=1", "--prices", "prices.json"), "malformed at `*.prompt`"),
    ((*SOLVE, *ENOUGH, "--rule", "luck"), "no method `luck`"),
    ((*SOLVE, *ENOUGH, "--rule", "copyspec"), "no rule for drawing samples"),
    ((*SOLVE, *ENOUGH, "--rule", "majority", "--confidence", "0.9"), "promises no confidence"),
    ((*SOLVE, *ENOUGH, "--confidence", "2"), "`--confidence` must be"),
    ((*SOLVE, *ENOUGH, "--samples", "0"), "`--samples` must be at least 1"),
    ((*SOLVE, *ENOUGH, "--width", "0"), "must be at least 1"),
    ((*SOLVE, *ENOUGH, "--verifier", "absent.py:check"), "`absent.py` does not exist"),
    ((*SOLVE, *ENOUGH, *LEAD, "--verifier", "raises.py:check"), "raised ValueError: on purpose"),
    ((*SOLVE, *ENOUGH, *LEAD, "--out", "notes"), "such as `letter.txt`"),
    ((*SOLVE, *ENOUGH, *LEAD, "--tasks", "bad.jsonl"), "`bad.jsonl` line 2"),
    ((*SOLVE, *ENOUGH, *LEAD, "--tasks", "absent"), "`absent` names no tasks"),
    (("solve", "replay:notes", *SOLVE[2:], *ENOUGH, *LEAD), "holds no recording"),
    (("record", "replay:notes", "--tasks", "tasks.jsonl", "--out", "o"), "holds no recording"),
    ((*SOLVE, *ENOUGH, "--frugal", "2"), "`--frugal` counts them"),
    ((*SOLVE, *ENOUGH, "--frugal", "-1"), "`--frugal` must be 0 or more"),
    ((*SOLVE, *ENOUGH, "--learn", "notes"), "only runs with a verifier learn"),
    ((*SOLVE, *ENOUGH, "--verifier", "reference", "--learn", "notes"), "holds no recording"),
    (("record", *SOLVE[1:], "--samples", "0"), "`--samples` must be at least 1"),
    ((*SOLVE, *ENOUGH, "--device", "cpu"), "`--device` is for models on the `torch` engine"),
    (("record", *SOLVE[1:], "--device", "cpu"), "`--device` is for models on the `torch` engine"),
    (("solve", "replay:notes", *SOLVE[2:], *ENOUGH, "--device", "cpu"), "holds recorded samples"),
    (("solve", "smollm2", *SOLVE[2:], *ENOUGH, "--device", "tpu"), "no device `tpu`"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    write_inputs(tmp_path)
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*args):
    return CliRunner().invoke(app, args)


@pytest.mark.parametrize(("args", "found"), BAD)
def test_bad_input_gets_a_sentence_a_hint_and_exit_code_2(args, found):
    done = command(*args)
    assert done.exit_code == 2, done.output
    assert found in done.stderr
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_record_solve_and_replay_go_together(folder):
    tasks = ("--tasks", "tasks.jsonl")
    made = command("record", "scripted:spec.json", *tasks, *DRAWN, "--samples", "6", "--out", "st")
    assert made.exit_code == 0, made.output
    assert "right: " in made.stdout
    found = []
    for name in ("a", "b"):
        solve = ("solve", "replay:st", *tasks, *ENOUGH, *LEAD, "--out", name, "--json")
        done = command(*solve)
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout.splitlines()[-1]))
        assert command(*solve).exit_code == 0  # once more resumes: there is nothing left to do
    one = found[0]
    assert one["questions"] == len(NAMES)
    assert 0 < one["samples"] <= SAMPLES * len(NAMES)
    assert one["stop_reasons"] == found[1]["stop_reasons"]
    lines = [(folder / name / "answers.jsonl").read_text() for name in ("a", "b")]
    assert lines[0] == lines[1]
    again = json.loads(command(*solve).stdout.splitlines()[-1])
    assert again["resumed"] == one["samples"]


def test_a_run_learns_from_a_recording(folder):
    tasks = ("--tasks", "tasks.jsonl")
    made = command("record", "scripted:spec.json", *tasks, *DRAWN, "--samples", "6", "--out", "st")
    assert made.exit_code == 0, made.output
    learn = ("--budget", "tokens=20", "--verifier", "reference", "--learn", "st")
    done = command(*SOLVE, *learn)
    assert done.exit_code == 0, done.output
    taught = {line["id"]: line["samples"] for line in answers_in(folder / "out")}
    assert taught["easy"] == 1
    assert taught["silent"] == 0  # of which no sample was right


def test_people_see_why_questions_ended_and_what_was_saved():
    done = command(*SOLVE, *ENOUGH, *LEAD)
    assert done.exit_code == 0, done.output
    assert "ended by" in done.stdout
    assert "settled" in done.stdout
    assert "that all samples of every question would have taken" in done.stdout
    assert "gave no answer: they had no vote" in done.stdout


def test_parameters_of_a_named_rule_can_be_set(folder):
    for margin in ("1", "5"):
        done = command(
            *SOLVE[:-1], margin, *ENOUGH, *LEAD, "--param", f"lead_margin.margin={margin}"
        )
        assert done.exit_code == 0, done.output
    samples = [sum(line["samples"] for line in answers_in(folder / m)) for m in ("1", "5")]
    assert samples[0] < samples[1]


def test_python_solves_as_the_command_does(folder):
    requests = [rheostat.Request(id=name, prompt=name, reference="1") for name in ("easy", "even")]
    found = rheostat.solve(
        rheostat.load("scripted:spec.json"),
        requests,
        budget="tokens=500",
        out=folder / "py",
        rule="lead_margin",
        verifier=lambda text: text.endswith("1"),
        sampling={"temperature": 1.0, "max_new_tokens": 8},
    )
    assert [line["id"] for line in found["answers"]] == ["easy", "even"]
    assert found["cost"]["new_tokens"] == sum(a["cost"]["new_tokens"] for a in found["answers"])


def test_samples_end_early_where_a_method_says_so_and_a_recording_refuses(folder):
    cut = ("--set", "fixed_length=1", "--param", "fixed_length.tokens=2")
    result = command(*SOLVE, *ENOUGH, *LEAD, *cut)
    assert result.exit_code == 0, result.output
    whole = command(*SOLVE[:-1], "whole", *ENOUGH, *LEAD)
    assert whole.exit_code == 0
    counts = [[s.cost.new_tokens for s in samples_in(folder / name)] for name in ("out", "whole")]
    assert max(counts[0]) == 2 < max(counts[1])
    replayed = ("solve", "replay:whole", "--tasks", "tasks.jsonl", "--out", "judged")
    refused = command(*replayed, *ENOUGH, *LEAD, *cut)
    assert refused.exit_code == 2
    assert "needs `stop`, which this engine does not offer" in refused.output.replace("\n", " ")


def test_a_loaded_engine_is_not_moved(folder):
    engine = rheostat.load("scripted:spec.json")
    with pytest.raises(UserError, match="runs where it is"):
        rheostat.solve(engine, "tasks.jsonl", budget="tokens=500", out="o", device="cpu")
