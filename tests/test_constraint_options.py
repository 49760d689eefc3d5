"""`--constraint` and `--particles` on the command line, in `run`, and in Python."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

pytest.importorskip("llguidance", reason="needs the extra `constraints`")

import rheostat
from rheostat.cli import app
from rheostat.stages.settings import with_choice
from rheostat.workloads.constraints import wanted

SPEC = {
    "vocabulary": ["a", "b", "c", "<end>"],
    "context": 64,
    "default": {"a": 0.4, "b": 0.3, "c": 0.1, "<end>": 0.2},
}
PATTERN = "b( b| c)*"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "spec.json"
    path.write_text(json.dumps(SPEC), encoding="utf-8")
    return f"scripted:{path}"


def command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def last_line(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_a_generated_answer_matches_and_its_line_keeps_its_fields(spec):
    line = last_line(
        command(
            "generate", spec, "a", "--constraint", f"regex:{PATTERN}", "--temperature", 1, "--json"
        )
    )
    assert re.fullmatch(PATTERN, line["text"])
    assert set(line) == {"id", "text", "token_ids", "stop_reason", "cost"}


def test_particles_add_their_shares_to_the_line(spec):
    line = last_line(
        command(
            *("generate", spec, "a", "--constraint", f"regex:{PATTERN}"),
            *("--temperature", 1, "--particles", 20, "--json"),
        )
    )
    assert sum(p["weight"] for p in line["particles"]) == pytest.approx(1)
    assert 0 < line["probability"] < 1
    assert re.fullmatch(PATTERN, line["text"])


def test_few_checks_are_the_default_and_can_be_switched_off(spec):
    asked = rheostat.Sampling(constraint=wanted(lambda text: True))
    plan = rheostat.Plan(model=spec)
    assert with_choice(plan, rheostat.Sampling()) == plan
    assert [s.name for s in with_choice(plan, asked).methods] == ["awrs"]
    assert with_choice(plan, asked, named=["awrs"]) == plan
    held = plan.with_setting(rheostat.Setting(name="fixed_tries", dial=0.5))
    assert with_choice(held, asked) == held
    copied = plan.with_setting(rheostat.Setting(name="copyspec", dial=1))
    assert [s.name for s in with_choice(copied, asked).methods] == ["copyspec", "awrs"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--constraint", "regex:(a"], "malformed: unclosed group"),
        (["--constraint", "letters"], "`letters` is no constraint"),
        (["--constraint", "schema:no.json"], "cannot be read"),
        (["--constraint", "regex:d"], "admits no token at the beginning"),
        (["--particles", "4", "--temperature", "1"], "there is none"),
        (["--constraint", "regex:a", "--particles", "4"], "`--temperature` is 0"),
    ],
)
def test_bad_constraints_get_a_sentence_a_hint_and_exit_code_2(spec, options, message):
    done = command("generate", spec, "a", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "hint: " in done.stderr


@pytest.fixture
def requests(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "c"}\n', encoding="utf-8")
    return path


def test_a_run_is_told_apart_by_its_constraint(spec, requests, tmp_path):
    rule = tmp_path / "rule.py"
    rule.write_text("def ok(text):\n    return 'a' not in text\n", encoding="utf-8")
    out = tmp_path / "out"
    arguments = ["run", f"base:{spec}", "--requests", requests, "--out", out]
    arguments += ["--constraint", f"{rule}:ok", "--temperature", 1, "--json"]
    assert last_line(command(*arguments))["requests"] == 2
    lines = [json.loads(line) for line in (out / "outputs.jsonl").read_text().splitlines()]
    assert all("a" not in line["text"] for line in lines)
    held = json.loads((out / "run.json").read_text())
    assert f"--constraint {rule}:ok" in held["command"]
    assert held["sampling"]["constraint"]["source"] == rule.read_text()
    assert last_line(command(*arguments))["resumed"] == 2
    rule.write_text("def ok(text):\n    return 'b' not in text\n", encoding="utf-8")
    done = command(*arguments)
    assert done.exit_code == 2
    assert "sampling" in done.stderr


def test_python_takes_a_function(spec):
    def no_a(text, ended):
        return "a" not in text and (not ended or len(text) > 2)

    output = rheostat.generate(spec, "a", constraint=no_a, temperature=1.0)
    assert "a" not in output.text
    assert len(output.text) > 2
    drawn = rheostat.generate(spec, "a", constraint=no_a, temperature=1.0, particles=8)
    assert len(drawn.population.particles) == 8
    with pytest.raises(rheostat.RheostatError, match="admits no token"):
        rheostat.generate(spec, "a", constraint=lambda text, ended: not text and not ended)
