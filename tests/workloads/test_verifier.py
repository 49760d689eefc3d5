"""Verifiers: what is right, and code that raises, hangs or floods."""

from __future__ import annotations

import shlex
import sys

import pytest

from rheostat.engines.base import Request
from rheostat.errors import WorkloadError
from rheostat.workloads.tasks import tasks_of
from rheostat.workloads.verifier import load_verifier

TASK = Request(id="1", prompt="2 + 2", reference="4")
TASKS = tasks_of("tasks", [TASK])
CODE = """
import time
print("loaded")
def right(text): return "4" in text
def knows(text, task): return task["reference"] == task["answer"] and task["prompt"] == "2 + 2"
def raises(text): raise ValueError("on purpose")
def leaves(text): raise SystemExit(3)
def hangs(text): time.sleep(60)
def floods(text):
    while True: print("x" * 1000)
def vague(text): return "yes"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize("name", ["right", "knows"])
def test_a_function_is_asked_for_every_sample(file, name):
    verifier = load_verifier(f"{file}:{name}", TASKS)
    found = [verifier.score(TASK, text, answer) for text, answer in (("4", "4"), ("5", "5"))]
    assert found == [1.0, 0.0]
    verifier.close()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raises", "raised ValueError: on purpose"),
        ("leaves", "raised SystemExit: 3"),
        ("hangs", "took longer than 0.5 seconds"),
        ("floods", "printed more than 16384 bytes"),
        ("vague", "returned 'yes', not True"),
        ("missing", "has no attribute 'missing'"),
    ],
)
def test_a_function_that_misbehaves_is_one_sentence(file, name, says):
    verifier = load_verifier(f"{file}:{name}", TASKS, seconds=0.5 if name == "hangs" else 10)
    with pytest.raises(WorkloadError, match="on a sample of `1`") as caught:
        verifier.score(TASK, "4", "4")
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def command(code):
    return shlex.join([sys.executable, "-c", code])


def test_a_command_reads_the_sample_and_says_it_by_its_exit_code():
    code = "import json, sys; sys.exit(json.load(sys.stdin)['answer'] != '4')"
    verifier = load_verifier(command(code), TASKS)
    assert [verifier.score(TASK, "", answer) for answer in ("4", "5", None)] == [1.0, 0.0, 0.0]


def test_a_command_need_not_read_a_long_sample():
    verifier = load_verifier(command("pass"), TASKS)
    assert verifier.score(TASK, "x" * 1_000_000, None) == 1.0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('lost')", "exit code 1 (RuntimeError: lost)"),
        ("import sys; print('why', file=sys.stderr); sys.exit(7)", "exit code 7 (why)"),
        ("import time; time.sleep(60)", "took longer than 1 seconds"),
        ("import os; os.write(1, b'x' * 100_000)", "printed more than"),
    ],
)
def test_a_command_that_misbehaves_is_one_sentence(code, says):
    verifier = load_verifier(command(code), TASKS, seconds=1 if "sleep" in code else 10)
    with pytest.raises(WorkloadError) as caught:
        verifier.score(TASK, "4", "4")
    assert says in caught.value.message


@pytest.mark.parametrize("name", ["nowhere.py:check", "no-such-command-here --now", "", "'open"])
def test_a_verifier_that_is_not_there_is_refused_before_any_work(name):
    with pytest.raises(WorkloadError):
        load_verifier(name, TASKS)


def test_references_judge_and_no_answer_is_wrong():
    verifier = load_verifier("reference", TASKS)
    assert [verifier.score(TASK, "", answer) for answer in ("4", "5", None)] == [1.0, 0.0, 0.0]
    with pytest.raises(WorkloadError, match="needs a reference"):
        load_verifier("reference", tasks_of("t", [Request(id="2", prompt="x")]))
