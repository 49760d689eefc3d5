"""What a recording teaches an allocation: its verdicts, and who gets the first sample."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.errors import OutputError, UserError
from rheostat.kernel.budget import Caps
from rheostat.kernel.policies.by_value import ByValue
from rheostat.stages.solve_learnt import ORDERS, learnt_from
from rheostat.workloads.tasks import load_tasks
from stages.counting_policies import Lead
from stages.sample_runs import SAMPLES, loaded, recorded, samples_in, solved, write_inputs


@pytest.fixture
def inputs(tmp_path):
    return write_inputs(tmp_path)


def test_a_recording_teaches_up_to_right_samples_in_several_orders(inputs, tmp_path):
    tasks = load_tasks(inputs[1])
    recorded(loaded(inputs[0]), inputs[1], tmp_path / "store")
    found = learnt_from(tmp_path / "store")
    by_question: dict[str, list[bool]] = {item.id: [] for item in tasks.items}
    for sample in samples_in(tmp_path / "store"):
        by_question[sample.question].append(sample.answer == "1")
    expected = 0
    for rights in by_question.values():
        for at in range(0, SAMPLES, max(1, SAMPLES // ORDERS)):
            turned = [*rights[at:], *rights[:at], True]
            expected += min(turned.index(True) + 1, SAMPLES)
    assert len(found.known) == len(found.right) == expected
    assert found.solved == sum(map(any, by_question.values())) > 0
    assert np.isfinite(found.known).all()
    assert found.digest == learnt_from(tmp_path / "store").digest


def test_a_run_with_another_judge_teaches_what_that_judge_said(inputs, tmp_path):
    code = tmp_path / "own.py"
    code.write_text("def check(text):\n    return '2' in text")
    solved(
        loaded(inputs[0], Lead(by=9)),
        inputs[1],
        tmp_path / "run",
        tokens=10_000,
        verifier=f"{code}:check",
    )
    found = learnt_from(tmp_path / "run")
    assert found.right.sum() == sum(s.answer == "2" for s in samples_in(tmp_path / "run")) > 0


def test_a_store_without_verdicts_and_no_store_are_refused(inputs, tmp_path):
    tasks = tmp_path / "open.jsonl"
    tasks.write_text('{"id": "easy", "prompt": "easy"}\n')
    recorded(loaded(inputs[0]), str(tasks), tmp_path / "store")
    with pytest.raises(UserError, match="does not say which samples are right"):
        learnt_from(tmp_path / "store")
    with pytest.raises(OutputError, match="holds no recording"):
        learnt_from(tmp_path / "absent")


def test_a_run_that_has_learnt_something_else_is_another_run(inputs, tmp_path):
    recorded(loaded(inputs[0]), inputs[1], tmp_path / "store")
    learnt = learnt_from(tmp_path / "store")
    made = {
        "budget": Caps(tokens=400),
        "verifier": "reference",
        "allocation": ByValue(learnt=learnt),
        "learnt": learnt.digest,
    }
    once, again = (
        solved(loaded(inputs[0], Lead(by=9)), inputs[1], tmp_path / "run", **made) for _ in "ab"
    )
    assert once == again
    with pytest.raises(OutputError, match="recordings that were learnt from differ"):
        solved(loaded(inputs[0], Lead(by=9)), inputs[1], tmp_path / "run", **made | {"learnt": "x"})
    with pytest.raises(OutputError, match="settings of `--frugal` differ"):
        solved(loaded(inputs[0], Lead(by=9)), inputs[1], tmp_path / "run", **made | {"frugal": 2.0})
