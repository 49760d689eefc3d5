from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rheostat.engines.base import Sampling
from rheostat.errors import MemoryShortError, MethodError, OutputError, UserError, WorkloadError
from rheostat.kernel.budget import Caps
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.folder_lock import LOCK, locked
from rheostat.stages.run import run
from stages import scripted_runs
from stages.scripted_runs import PROMPTS, SAMPLING, Ending, answer, files_of, write_inputs

COUNT = len(PROMPTS)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """The files of a run that nothing stopped."""
    spec, requests = inputs
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    answer(Ending(spec), requests, folder)
    return files_of(folder)


def read(folder, name="outputs.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def interrupt():
    raise KeyboardInterrupt


def out_of_memory():
    raise MemoryShortError("memory ran out", hint="run fewer rows")


def test_a_run_writes_its_files_in_input_order_and_nothing_else(inputs, tmp_path):
    spec, requests = inputs
    summary = answer(Ending(spec), requests, tmp_path / "run", batch=4)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "plan.json", "outputs.jsonl", "trace.jsonl"}
    ids = [str(number) for number in range(1, COUNT + 1)]
    assert [line["id"] for line in read(tmp_path / "run")] == ids
    assert [line["id"] for line in read(tmp_path / "run", "trace.jsonl")] == ids
    assert summary["requests"] == COUNT
    assert summary["resumed"] == 0


def test_a_run_out_of_memory_keeps_what_is_answered_and_goes_on(inputs, undisturbed, tmp_path):
    spec, requests = inputs
    folder = tmp_path / "run"
    with pytest.raises(MemoryShortError) as error:
        answer(Ending(spec, after=2, end=out_of_memory), requests, folder, batch=4)
    assert f"run fewer rows; 2 of {COUNT} requests are answered and kept" in error.value.hint
    assert answer(Ending(spec), requests, folder)["resumed"] == 2
    assert files_of(folder) == undisturbed


def test_progress_ends_at_the_last_request(inputs, tmp_path):
    spec, requests = inputs
    said = []
    answer(Ending(spec), requests, tmp_path / "run", progress=said.append)
    assert said[-1] == f"answered {COUNT} of {COUNT} requests"


def test_the_totals_are_the_sum_of_the_outputs(inputs, tmp_path):
    spec, requests = inputs
    summary = answer(Ending(spec), requests, tmp_path / "run")
    costs = [line["cost"] for line in read(tmp_path / "run")]
    for name in ("flops", "bytes", "prompt_tokens", "new_tokens", "calls"):
        assert summary["cost"][name] == sum(cost[name] for cost in costs)
    assert summary["cost"]["price"] == pytest.approx(sum(cost["price"] for cost in costs))


def test_run_json_says_what_was_run_on_what(inputs, tmp_path):
    spec, requests = inputs
    engine = Ending(spec)
    answer(engine, requests, tmp_path / "run", label="base")
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    assert header["version"] == 1
    assert header["label"] == "base"
    assert header["plan"] == json.loads((tmp_path / "run" / "plan.json").read_text())
    assert header["plan"]["digest"] == engine.digest
    assert header["requests"]["count"] == COUNT
    assert header["sampling"]["temperature"] == 1.0
    assert {"name", "cpu", "cores", "python", "torch", "rheostat"} <= set(header["machine"])
    assert header["command"].startswith("rheostat run ")


@pytest.mark.parametrize(("batch", "after"), [(1, 0), (1, 4), (4, 1), (4, 6), (10, 5)])
def test_a_killed_run_goes_on_without_repeating_or_losing_a_request(
    inputs, undisturbed, tmp_path, batch, after
):
    spec, requests = inputs
    folder = tmp_path / "run"
    program = [sys.executable, scripted_runs.__file__, spec, requests, folder, batch, after]
    done = subprocess.run([str(part) for part in program], check=False)
    assert done.returncode == -signal.SIGKILL
    engine = Ending(spec)
    summary = answer(engine, requests, folder, batch=batch)
    assert files_of(folder) == undisturbed
    assert summary["resumed"] == after
    assert len(engine.given) == COUNT - after
    assert not (folder / "journal.jsonl").exists()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["outputs.jsonl", "trace.jsonl"]),
    share=st.floats(min_value=0, max_value=1),
)
def test_a_file_cut_off_anywhere_is_made_whole_again(
    inputs, undisturbed, tmp_path_factory, name, share
):
    spec, requests = inputs
    folder = tmp_path_factory.mktemp("cut") / "run"
    answer(Ending(spec), requests, folder)
    os.truncate(folder / name, int(share * len(undisturbed[name])))
    left = (folder / name).read_bytes().count(b"\n")
    engine = Ending(spec)
    answer(engine, requests, folder)
    assert files_of(folder) == undisturbed
    assert len(engine.given) <= COUNT - left


def test_a_torn_last_line_of_the_journal_is_dropped(inputs, undisturbed, tmp_path):
    spec, requests = inputs
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        answer(Ending(spec, after=3, end=interrupt), requests, folder)
    with (folder / "journal.jsonl").open("a") as file:
        file.write('{"output": {"id": "4", "text": "a b')
    assert answer(Ending(spec), requests, folder)["resumed"] == 3
    assert files_of(folder) == undisturbed


def test_a_damaged_line_within_a_file_is_refused(inputs, tmp_path):
    spec, requests = inputs
    folder = tmp_path / "run"
    answer(Ending(spec), requests, folder)
    lines = (folder / "outputs.jsonl").read_text().splitlines(keepends=True)
    (folder / "outputs.jsonl").write_text("".join([lines[0], "{torn\n", *lines[2:]]))
    with pytest.raises(OutputError, match=r"outputs\.jsonl` line 2 is not JSON"):
        answer(Ending(spec), requests, folder)


def test_ctrl_c_keeps_what_is_answered_and_says_how_to_go_on(inputs, tmp_path):
    spec, requests = inputs
    engine = Ending(spec, after=4, end=interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"4 of 10 requests .* the same command goes on"):
        answer(engine, requests, tmp_path / "run")
    assert [line["id"] for line in read(tmp_path / "run")] == engine.finished
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_finished_run_answers_nothing_again(inputs, undisturbed, tmp_path):
    spec, requests = inputs
    answer(Ending(spec), requests, tmp_path / "run")
    engine = Ending(spec)
    summary = answer(engine, requests, tmp_path / "run")
    assert engine.given == []
    assert summary["resumed"] == COUNT
    assert files_of(tmp_path / "run") == undisturbed


def test_a_full_disk_keeps_what_is_answered(inputs, undisturbed, tmp_path):
    spec, requests = inputs
    code = (
        "import resource, sys; from pathlib import Path; from stages.scripted_runs import *; "
        "spec, requests, out = sys.argv[1:]; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "answer(Ending(spec), requests, Path(out))"
    )
    tests = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code, str(spec), str(requests), str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": tests},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "rheostat.errors.OutputError" in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert 0 < answer(Ending(spec), requests, tmp_path / "run")["resumed"] < COUNT
    assert files_of(tmp_path / "run") == undisturbed


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("sampling options", {"sampling": Sampling(max_new_tokens=24, temperature=0.5)}),
        ("methods and dials", {"methods": (Setting(name="copyspec", dial=1.0),)}),
        ("requests", {"requests": True}),
    ],
)
def test_the_folder_of_another_run_is_refused(inputs, tmp_path, what, change):
    spec, requests = inputs
    folder = tmp_path / "run"
    engine = Ending(spec)
    answer(engine, requests, folder)
    before = files_of(folder)
    if "requests" in change:
        requests = tmp_path / "others.jsonl"
        requests.write_text('{"prompt": "c c c"}\n')
    plan = Plan(model=engine.model, methods=change.get("methods", ()))
    with pytest.raises(OutputError, match=f"another run: its {what}"):
        run(plan, requests, folder, sampling=change.get("sampling", SAMPLING), engine=engine)
    assert files_of(folder) == before


def test_a_folder_with_other_files_is_left_alone(inputs, tmp_path):
    spec, requests = inputs
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"`notes\.txt`"):
        answer(Ending(spec), requests, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_cannot_be_the_folder(inputs, tmp_path):
    spec, requests = inputs
    with pytest.raises(OutputError, match="is not a folder"):
        answer(Ending(spec), requests, spec)


def test_the_label_may_change_when_a_run_goes_on(inputs, tmp_path):
    spec, requests = inputs
    assert answer(Ending(spec), requests, tmp_path / "run")["label"] == "run"
    assert answer(Ending(spec), requests, tmp_path / "run", label="base")["label"] == "base"
    assert answer(Ending(spec), requests, tmp_path / "run")["label"] == "base"


def test_two_runs_cannot_share_a_folder(inputs, tmp_path):
    spec, requests = inputs
    answer(Ending(spec), requests, tmp_path / "run")
    with (
        locked(tmp_path / "run"),
        pytest.raises(OutputError, match=f"in use by another run .process {os.getpid()}"),
    ):
        answer(Ending(spec), requests, tmp_path / "run")
    assert not (tmp_path / "run" / LOCK).exists()


def test_the_lock_of_a_dead_process_is_taken_over(inputs, tmp_path):
    spec, requests = inputs
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / LOCK).write_text(f"{dead.pid} 12345")
    answer(Ending(spec), requests, tmp_path)
    assert not (tmp_path / LOCK).exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the start of a process")
def test_the_lock_of_an_earlier_process_of_the_same_number_is_taken_over(tmp_path):
    (tmp_path / LOCK).write_text(f"{os.getpid()} 1")
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() != f"{os.getpid()} 1"


def test_an_impossible_prompt_is_refused_before_any_work(inputs, tmp_path):
    spec, _ = inputs
    requests = tmp_path / "long.jsonl"
    lines = [{"prompt": "a"}, {"prompt": "a " * 100}]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    engine = Ending(spec)
    with pytest.raises(WorkloadError, match="100 tokens"):
        answer(engine, requests, tmp_path / "run")
    assert engine.given == []
    assert not (tmp_path / "run").exists()


def test_a_method_that_the_engine_cannot_serve_is_refused(inputs, tmp_path):
    spec, requests = inputs
    engine = Ending(spec)
    plan = Plan(model=engine.model, methods=(Setting(name="llm_drop", dial=0.5),))
    with pytest.raises(MethodError, match=r"needs `depth\.static`"):
        run(plan, requests, tmp_path / "run", sampling=SAMPLING, engine=engine)


def test_a_batch_has_at_least_one_request(inputs, tmp_path):
    spec, requests = inputs
    with pytest.raises(UserError, match="`--batch` must be at least 1"):
        answer(Ending(spec), requests, tmp_path / "run", batch=0)


@pytest.mark.parametrize("after", [None, 1])
def test_a_budget_holds_over_all_starts_of_a_run(inputs, tmp_path, after):
    spec, requests = inputs
    caps, folder = Caps(new_tokens=12), tmp_path / "run"
    if after is not None:
        with pytest.raises(KeyboardInterrupt):
            answer(Ending(spec, after=after, end=interrupt), requests, folder, budget=caps)
    summary = answer(Ending(spec), requests, folder, budget=caps)
    assert summary["cost"]["new_tokens"] <= 12
    assert summary["stop_reasons"]["budget"] > 0


def test_another_budget_is_another_run(inputs, tmp_path):
    spec, requests = inputs
    answer(Ending(spec), requests, tmp_path / "run", budget=Caps(new_tokens=40))
    with pytest.raises(OutputError, match="budgets"):
        answer(Ending(spec), requests, tmp_path / "run", budget=Caps(new_tokens=50))
