"""`plan` for questions to solve: recorded or replayed, then solved; bad input in a sentence."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import rheostat
from rheostat.cli import app
from stages.sample_plans import NAMES, SAMPLES, recorded, write_spec, write_tasks
from stages.sample_runs import answers_in, samples_in

DRAWN = ("--samples", str(SAMPLES), "--temperature", "1", "--max-new-tokens", "6")
PLAN = ("plan", "scripted:spec.json", "--tasks", "tasks.jsonl", *DRAWN, "--out", "plan.json")
REPLAY = ("plan", "replay:store", "--out", "p.json")
BAD = [
    (("plan", "smollm2", "--out", "p.json", "--lossless"), "a plan needs texts, or questions"),
    (("plan", "smollm2", "other", "--out", "p.json", "--workload", "edit"), "a plan is of one"),
    (("plan", "smollm2", "--workload", "edit", "--samples", "4", "--out", "p"), "`--samples` is"),
    (PLAN, "needs a largest loss"),
    ((*PLAN, "--max-loss", "2"), "must be from 0 to 1"),
    ((*PLAN, "--max-loss", "0.1", "--loss", "score"), "there is no loss `score` of samples"),
    ((*PLAN, "--max-loss", "0.1", "--workload", "edit"), "`--workload` is for plans of texts"),
    ((*PLAN, "--lossless"), "`--lossless` is for plans of texts"),
    ((*PLAN, "--max-loss", "0.1", "--precision", "gguf"), "draws in `float64` alone"),
    ((*PLAN, "--max-loss", "0.1", "--precision", "int3"), "`int3` is no number format"),
    ((*PLAN, "--max-loss", "0.1", "--tasks", "few.jsonl"), "too few questions"),
    ((*PLAN, "--max-loss", "0.1", "--tasks", "unjudged.jsonl"), "nothing says which answers"),
    ((*PLAN, "--max-loss", "0.02", "--confidence", "0.95"), "takes at least 204"),
    (("plan", "scripted:spec.json", *PLAN[1:], "--max-loss", "0.1"), "samples are recorded of one"),
    ((*REPLAY[:2], "smollm2", *REPLAY[2:], "--max-loss", "0.1"), "samples are recorded of one"),
    ((*REPLAY, "--max-loss", "0.1", "--tasks", "tasks.jsonl"), "`--tasks` says how samples are"),
    ((*REPLAY, "--max-loss", "0.1", "--dtype", "gguf"), "`--dtype` says how samples are drawn"),
    ((*REPLAY, "--max-loss", "0.1", "--temperature", "0"), "says how samples are drawn"),
    (("plan", "replay:nowhere", *REPLAY[2:], "--max-loss", "0.1"), "holds no recording"),
    (("plan", "replay:once", *REPLAY[2:], "--max-loss", "0.1"), "1 sample of each question"),
    (("solve", "scripted:spec.json", "--tasks", "tasks.jsonl", "--out", "s"), "how much may be"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_spec(tmp_path)
    write_tasks(tmp_path / "tasks.jsonl")
    write_tasks(tmp_path / "few.jsonl", NAMES[:9])
    write_tasks(tmp_path / "unjudged.jsonl", reference=None)
    return tmp_path


def command(*args):
    return CliRunner().invoke(app, args)


@pytest.mark.parametrize(("args", "found"), BAD)
def test_bad_input_gets_a_sentence_a_hint_and_exit_code_2(args, found):
    if "replay:store" in args:
        recorded("scripted:spec.json", "tasks.jsonl", "store")
    if "replay:once" in args:
        once = ("record", *PLAN[1:4], "--samples", "1", "--max-new-tokens", "6", "--out", "once")
        assert command(*once).exit_code == 0
    done = command(*args)
    assert done.exit_code == 2, done.output
    assert found in done.stderr
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_is_recorded_made_and_solved_with(folder):
    made = command(*PLAN, "--max-loss", "0.1")
    assert made.exit_code == 0, made.output
    assert "on 3" in made.stdout
    assert "solve with it: rheostat solve scripted:spec.json --tasks TASKS --plan" in made.stdout
    plan = json.loads((folder / "plan.json").read_text())
    before = samples_in(folder / "plan.json.samples" / "float32")
    assert len(before) == SAMPLES * len(NAMES)
    other = command(*PLAN, "--max-loss", "0.2", "--json")
    assert other.exit_code == 0, other.output
    cheaper = json.loads(other.stdout.splitlines()[-1])
    assert cheaper["predicted"]["price_ratio"] <= plan["predicted"]["price_ratio"]
    assert samples_in(folder / "plan.json.samples" / "float32") == before  # nothing is drawn anew

    solve = ("solve", "scripted:spec.json", "--tasks", "tasks.jsonl", "--plan", "plan.json")
    done = command(*solve, "--out", "solved", "--json")
    assert done.exit_code == 0, done.output
    own = json.loads((folder / "plan.json").read_text())
    answers = answers_in(folder / "solved")
    assert max(line["samples"] for line in answers) <= own["draws"]["samples"]
    assert json.loads(done.stdout.splitlines()[-1])["samples"] < SAMPLES * len(NAMES)
    assert {s.temperature for s in samples_in(folder / "solved")} == {1.0}
    drawn = {(s.question, s.index): s.text for s in before}
    assert all(drawn[s.question, s.index] == s.text for s in samples_in(folder / "solved"))


def test_a_plan_replayed_is_what_solving_the_recording_gives(folder):
    recorded("scripted:spec.json", "tasks.jsonl", "store")
    made = command(*REPLAY, "--max-loss", "0.1")
    assert made.exit_code == 0, made.output
    solve = ("solve", "replay:store", "--tasks", "tasks.jsonl", "--plan", "p.json", "--json")
    done = command(*solve, "--out", "s")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["settled"] > 0
    assert found["samples"] < SAMPLES * len(NAMES)


def test_other_commands_take_such_a_plan_or_say_why_not(folder):
    recorded("scripted:spec.json", "tasks.jsonl", "store")
    assert command(*REPLAY, "--max-loss", "0.2").exit_code == 0
    cited = command("cite", "p.json")
    assert cited.exit_code == 0, cited.output
    (folder / "r.jsonl").write_text('{"prompt": "q1"}\n')
    for args in (
        ("run", "p.json", "--requests", "r.jsonl", "--out", "runs"),
        ("generate", "scripted:spec.json", "q1", "--plan", "p.json"),
    ):
        done = command(*args)
        assert done.exit_code == 2, done.output
        assert "this is a plan of samples" in done.stderr
    checked = command("check", "p.json", "--workload", "edit")
    assert checked.exit_code == 2
    assert "certificates are checked on texts" in checked.stderr
    other = ("solve", "scripted:spec.json", "--tasks", "tasks.jsonl", "--plan", "p.json")
    assert command(*other, "--out", "s").exit_code == 0
    shown = command("report", "s", "--out", "report.html")
    assert shown.exit_code == 0, shown.output


def test_a_plan_in_another_format_is_refused(folder):
    recorded("scripted:spec.json", "tasks.jsonl", "store", dtype="gguf")
    assert command(*REPLAY, "--max-loss", "0.2").exit_code == 0
    other = ("solve", "scripted:spec.json", "--tasks", "tasks.jsonl", "--plan", "p.json")
    done = command(*other, "--out", "s")
    assert done.exit_code == 2
    assert "the plan draws samples in `gguf`" in done.stderr


def test_python_plans_and_solves(folder):
    plan = rheostat.plan_samples(
        "scripted:spec.json",
        "tasks.jsonl",
        max_loss=0.1,
        store="kept",
        samples=SAMPLES,
        sampling={"temperature": 1.0, "max_new_tokens": 6},
    )
    found = rheostat.solve("scripted:spec.json", "tasks.jsonl", plan=plan, out="solved")
    assert len(found["answers"]) == len(NAMES)
    assert found["samples"] < SAMPLES * len(NAMES)


def test_what_differs_from_the_plan_voids_its_claims(folder):
    recorded("scripted:spec.json", "tasks.jsonl", "store")
    assert command(*REPLAY, "--max-loss", "0.2").exit_code == 0
    more = json.loads((folder / "p.json").read_text())["draws"]["samples"] + 1
    solve = ("solve", "scripted:spec.json", "--tasks", "few.jsonl", "--plan", "p.json", "--out")
    for name, options, found in (
        ("a", (), []),
        ("b", ("--temperature", "0.5"), ["the plan was made for another `temperature`"]),
        ("c", ("--samples", str(more)), ["the plan was made for another `samples`"]),
        ("d", ("--rule", "random_stop"), ["another rule was set by hand"]),
    ):
        done = command(*solve, name, *options, "--json")
        assert done.exit_code == 0, done.output
        notices = json.loads(done.stdout.splitlines()[-1])["notices"]
        assert len(notices) == len(found)
        assert all(said.startswith(start) for said, start in zip(notices, found, strict=True))
