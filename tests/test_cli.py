from __future__ import annotations

import errno
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rheostat.cli import app
from rheostat.cli_console import guarded
from rheostat.errors import PlanError
from stages.scripted_runs import SPEC, write_inputs

PROGRAM = [sys.executable, "-c", "from rheostat.cli import main; main()"]
FILES = {
    "not_json.jsonl": '{"prompt": "a"}\nnot json\n',
    "empty.jsonl": "",
    "blank.jsonl": '{"prompt": " "}\n',
    "long.jsonl": json.dumps({"prompt": "a " * 100}),
    "torn.json": "{",
    "list.json": "[]",
    "version.json": '{"version": 9, "model": "m"}',
    "other.json": '{"version": 1, "model": "scripted:spec.json", "digest": "0"}',
    "dial.json": '{"version": 1, "model": "m", "methods": [{"name": "copyspec", "dial": 2}]}',
    "bad.gguf": "GGUF and then something else",
    "empty.gguf": "",
    "notes.txt": "mine",
}
GENERATE = ("generate", "scripted:spec.json", "a b")
RUN = ("run", "base:scripted:spec.json", "--out", "out", "--requests")
PLAN = ("plan", "scripted:spec.json", "--workload", "requests.jsonl", "--out", "new.json")
BAD = [
    (("generate", "smoll", "hi"), "unknown model `smoll`"),
    (("generate", "", "hi"), "name is empty"),
    (("generate", "gemma3-270m", "hi"), "which you have not accepted"),
    (("--accept-licence", "mit"), "no licence `mit`"),
    (("generate", "absent.gguf", "hi"), "`absent.gguf` does not exist"),
    (("generate", "notes.txt", "hi"), "is no model's file"),
    (("generate", "./absent", "hi"), "`./absent` does not exist"),
    (("generate", "../absent", "hi"), "`../absent` does not exist"),
    (("run", "model", "--requests", "requests.jsonl", "--out", "out"), "write `base:model`"),
    (("generate", "bad.gguf", "hi"), "not a whole GGUF file"),
    (("generate", "empty.gguf", "hi"), "not a whole GGUF file"),
    (("generate", "scripted:absent.json", "a"), "cannot be read"),
    (("generate", "scripted:torn.json", "a"), "is malformed"),
    (("generate", "http://127.0.0.1:9/v1#m", "hi"), "cannot be reached"),
    (("generate", "http://localhost/v1", "hi"), "does not say which model"),
    (("generate", "https://me:pw@localhost/v1#m", "hi"), "holds a user name or a password"),
    (("generate", "https://localhost/v1?key=pw#m", "hi"), "holds a query"),
    (("generate", "http:v1#m", "hi"), "not the address of a server"),
    (("generate", "llamacpp:absent.gguf", "hi"), "`absent.gguf` does not exist"),
    (("generate", "llamacpp:bad.gguf", "hi"), "cannot be read as a GGUF file"),
    (("generate", "replay:store", "hi"), "holds recorded samples"),
    (("generate", "scripted:spec.json", ""), "the prompt is empty"),
    (("generate", "scripted:spec.json", " ", "--raw"), "the prompt is empty"),
    (("generate", "scripted:spec.json", "zebra"), "`zebra` is not a token"),
    (("generate", "scripted:spec.json", "a " * 100), "has 100 tokens"),
    ((*GENERATE, "--max-new-tokens", "0"), "`--max-new-tokens` must be at least 1"),
    ((*GENERATE, "--max-new-tokens", "-5"), "`--max-new-tokens` must be at least 1"),
    ((*GENERATE, "--max-new-tokens", "many"), "'--max-new-tokens'"),
    ((*GENERATE, "--temperature", "-1"), "`--temperature` must be a number from 0"),
    ((*GENERATE, "--temperature", "nan"), "'--temperature'"),
    ((*GENERATE, "--temperature", "inf"), "'--temperature'"),
    ((*GENERATE, "--top-k", "-1"), "`--top-k` must be 0 or more"),
    ((*GENERATE, "--top-p", "1.5"), "`--top-p` must be in (0, 1]"),
    ((*GENERATE, "--stop", ""), "must not be empty"),
    ((*GENERATE, "--seed", "-1"), "'--seed'"),
    ((*GENERATE, "--threads", "0"), "'--threads'"),
    ((*GENERATE, "--dtype", "float16"), "no dtype `float16`"),
    ((*GENERATE, "--heat"), "`scripted:spec.json` runs elsewhere"),
    ((*GENERATE, "--heat", "--json"), "which `--json` does not show"),
    ((*GENERATE, "--device", "cpu"), "`--device` is for models on the `torch` engine"),
    (("generate", "smollm2", "hi", "--device", "tpu"), "no device `tpu`"),
    ((*GENERATE, "--set", "copyspec=1.5"), "a number from 0 to 1"),
    ((*GENERATE, "--set", "copyspec"), "METHOD=DIAL"),
    ((*GENERATE, "--set", "copyspek=1"), "no method `copyspek`"),
    ((*GENERATE, "--set", "llm_drop=0.5"), "needs `depth.static`"),
    ((*GENERATE, "--set", "agreement=1"), "decides about samples of a question"),
    ((*GENERATE, "--param", "copyspec.gamma=4"), "not switched on"),
    ((*GENERATE, "--set", "copyspec=1", "--param", "copyspec.x=4"), "no parameter `x`"),
    ((*GENERATE, "--plan", "absent.json"), "no plan `absent.json`"),
    ((*GENERATE, "--plan", "torn.json"), "not JSON"),
    ((*GENERATE, "--plan", "list.json"), "not a plan"),
    ((*GENERATE, "--plan", "version.json"), "version `9`"),
    ((*GENERATE, "--plan", "other.json"), "for another model"),
    ((*GENERATE, "--plan", "dial.json"), "a number from 0 to 1"),
    ((*GENERATE, "--cuda-graphs"), "captures steps of `--device cuda`, not of `cpu`"),
    ((*RUN, "absent.jsonl"), "`absent.jsonl` does not exist"),
    ((*RUN, "not_json.jsonl"), "`not_json.jsonl` line 2"),
    ((*RUN, "empty.jsonl"), "holds no lines"),
    ((*RUN, "blank.jsonl"), "line 1: the prompt is empty"),
    ((*RUN, "long.jsonl"), "has 100 tokens"),
    ((*RUN, "requests.jsonl", "--batch", "0"), "`--batch` must be at least 1"),
    ((*RUN, "requests.jsonl", "--out", "."), "files that are not of a run"),
    ((*RUN, "requests.jsonl", "--out", "notes.txt"), "not a folder"),
    (("run", "smollm2", "--requests", "requests.jsonl", "--out", "out"), "no plan `smollm2`"),
    (("run", "other.json", "--plan", "other.json", *RUN[2:], "requests.jsonl"), "two plans"),
    (("run", "base:scripted:spec.json"), "'--requests'"),
    (PLAN, "exactly one of"),
    ((*PLAN, "--lossless", "--max-cost", "0.5"), "exactly one of"),
    ((*PLAN, "--max-loss", "0.1"), "needs `--loss`"),
    ((*PLAN, "--max-loss", "0.1", "--loss", "fun"), "no loss `fun`"),
    ((*PLAN, "--max-loss", "-1", "--loss", "nats"), "`--max-loss` must be from 0 to 1"),
    ((*PLAN, "--max-cost", "0"), "`--max-cost` must be over 0"),
    ((*PLAN, "--lossless", "--confidence", "0.9"), "`--confidence`"),
    ((*PLAN, "--lossless", "--max-new-tokens", "0"), "`--max-new-tokens`"),
    ((*PLAN, "--lossless", "--workload", "nope"), "not a workload"),
    ((*PLAN, "--lossless", "--out", "."), "is a folder"),
    (("profile", "scripted:spec.json", "--out", "p.json"), "nothing of a model's inside"),
    (("profile", "scripted:spec.json", "--out", "p.json", "--workload", "x"), "not a workload"),
    (("report", "absent", "--out", "r.html"), "no folder `absent`"),
    (("report", ".", "--out", "r.html"), "not a run folder"),
    (("bench", "nope", "--out", "b"), "no suite `nope`"),
    (("check", "plan.json"), "Missing option '--workload'"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a scripted model, requests and every kind of bad file, to work in."""
    write_inputs(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rheostat(*args, **more):
    return CliRunner().invoke(app, [str(arg) for arg in args], **more)


def result_of(*args):
    """The JSON object that a command ends with, all that it writes to stdout."""
    done = rheostat(*args, "--json")
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.mark.parametrize(("args", "found"), BAD, ids=[" ".join(args)[:70] for args, _ in BAD])
def test_bad_input_gets_a_sentence_a_hint_and_exit_code_2(args, found):
    done = rheostat(*args)
    assert done.exit_code == 2
    assert found in done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert "\n\nhint: " in done.stderr or "--help" in done.stderr
    assert done.stdout == ""


def test_python_m_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "rheostat", "--help"], capture_output=True, text=True, check=True
    )
    assert "generate" in done.stdout


def test_a_cut_off_model_is_refused(tiny_gguf, folder):
    whole = tiny_gguf.read_bytes()
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    done = rheostat("generate", "cut.gguf", "hi")
    assert done.exit_code == 2
    assert "not a whole GGUF file" in done.stderr


def test_generate_writes_the_answer_to_stdout_and_its_cost_to_stderr():
    done = rheostat(*GENERATE, "--max-new-tokens", 5, "--temperature", 1)
    expected = result_of(*GENERATE, "--max-new-tokens", 5, "--temperature", 1)
    assert done.stdout == expected["text"] + "\n"
    assert "ended by" in done.stderr


def test_generate_gives_the_object_that_scripts_read():
    found = result_of(*GENERATE, "--max-new-tokens", 3)
    assert set(found) == {"id", "text", "token_ids", "stop_reason", "cost"}
    assert found["cost"]["new_tokens"] == 3
    assert found["stop_reason"] == "length"


def test_a_dash_reads_the_prompt_from_stdin():
    done = rheostat("generate", "scripted:spec.json", "-", "--max-new-tokens", 3, input="a b\n")
    assert done.stdout == rheostat(*GENERATE, "--max-new-tokens", 3).stdout


def test_a_prompt_on_stdin_that_is_no_text_is_refused(folder):
    command = [*PROGRAM, "generate", "scripted:spec.json", "-"]
    done = subprocess.run(command, input=b"\xff\xfe", capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_stop_string_ends_the_answer():
    args = (*GENERATE, "--temperature", 1, "--max-new-tokens", 60, "--stop", "c")
    found = result_of(*args)
    assert found["stop_reason"] in {"stop", "eos"}
    assert "c" not in found["text"]


def test_run_writes_outputs_and_resumes(folder):
    first = result_of(*RUN, "requests.jsonl", "--max-new-tokens", 4, "--batch", 3)
    again = result_of(*RUN, "requests.jsonl", "--max-new-tokens", 4)
    assert (first["resumed"], again["resumed"]) == (0, first["requests"])
    assert first["cost"] == again["cost"]
    assert len((folder / "out" / "outputs.jsonl").read_text().splitlines()) == first["requests"]


def test_the_command_in_run_json_repeats_the_run(folder):
    rheostat(*RUN, "requests.jsonl", "--max-new-tokens", 4, "--stop", "b b")
    command = json.loads((folder / "out" / "run.json").read_text())["command"]
    assert result_of(*shlex.split(command)[1:])["resumed"] > 0


def test_another_run_in_the_same_folder_is_refused():
    rheostat(*RUN, "requests.jsonl", "--max-new-tokens", 4)
    done = rheostat(*RUN, "requests.jsonl", "--max-new-tokens", 5)
    assert done.exit_code == 2
    assert "holds another run" in done.stderr


def test_a_dial_set_by_hand_keeps_the_tokens_of_a_lossless_method():
    args = (*GENERATE, "--max-new-tokens", 12)
    assert result_of(*args, "--set", "copyspec=1")["token_ids"] == result_of(*args)["token_ids"]


def test_a_plan_of_another_machine_runs_and_says_that_its_claim_is_void(folder):
    plan = {"version": 1, "model": "scripted:spec.json", "machine": "elsewhere"}
    (folder / "plan.json").write_text(json.dumps(plan))
    done = rheostat(*GENERATE, "--plan", "plan.json", "--max-new-tokens", 1)
    assert done.exit_code == 0
    assert "its cost claim is void" in done.stderr


def test_plan_run_and_report_go_together(folder):
    pytest.importorskip("torch", reason="`plan` needs the `torch` extra")
    pytest.importorskip("matplotlib", reason="`report` needs the `plots` extra")
    goal = ("--lossless", "--items", 2, "--max-new-tokens", 8)
    made = result_of("plan", "scripted:spec.json", "--workload", "requests.jsonl",
                     "--out", "deep/plan.json", *goal)  # fmt: skip
    assert made["certificate"] is None
    assert made["digest"]
    tail = ("--requests", "requests.jsonl", "--max-new-tokens", 8)
    result_of("run", "deep/plan.json", *tail, "--out", "lossless")
    result_of("run", "base:scripted:spec.json", *tail, "--out", "base")
    summary = result_of("report", "base", "lossless", "--out", "report.html")
    assert summary["runs"][1]["exact_match"] == 1
    assert (folder / "report.html").is_file()
    assert rheostat("report", "base", "lossless", "--out", "report.html").exit_code == 0


def test_methods_lists_every_card_for_people_and_for_scripts():
    records = result_of("methods")["methods"]
    shown = rheostat("methods").stdout
    assert {"copyspec", "llm_drop", "ffn_skip"} <= {record["name"] for record in records}
    assert all(record["name"] in shown and record["paper"] in shown for record in records)


def test_help_names_the_commands_that_there_are():
    shown = rheostat("--help").stdout
    built = "profile plan check run generate record solve report methods cite bench demo"
    for command in built.split():
        assert rheostat(command, "--help").exit_code == 0
        assert f"\n  {command} " in shown


def test_the_version_is_shown():
    assert rheostat("--version").stdout.startswith("rheostat ")


def test_a_message_without_a_hint_of_its_own_points_to_the_help(capsys):
    def fails(debug=False):
        raise PlanError("no")

    with pytest.raises(typer.Exit) as caught:
        guarded(fails)()
    assert caught.value.exit_code == 2
    assert "hint: `rheostat fails --help`" in capsys.readouterr().err


@pytest.mark.parametrize("debug", [True, False])
def test_an_internal_error_is_one_line_and_a_traceback_only_for_debugging(capsys, debug):
    def fails(debug=False):
        raise ZeroDivisionError("by zero")

    with pytest.raises(typer.Exit) as caught:
        guarded(fails)(debug=debug)
    said = capsys.readouterr().err
    assert caught.value.exit_code == 1
    assert "internal error: ZeroDivisionError: by zero" in said
    assert ("Traceback" in said) is debug


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 9.00 GiB"),
    ],
)
def test_memory_that_runs_out_anywhere_is_no_internal_error(capsys, error):
    def fails(debug=False):
        raise error

    with pytest.raises(typer.Exit) as caught:
        guarded(fails)()
    said = capsys.readouterr().err
    assert caught.value.exit_code == 2
    assert "memory ran out" in said
    assert "hint: run fewer rows side by side" in said


def test_ctrl_c_is_exit_code_130_with_one_line(folder):
    spec = {**SPEC, "context": 10**6, "default": {"a": 0.5, "b": 0.5}}
    (folder / "endless.json").write_text(json.dumps(spec))
    args = ["generate", "scripted:endless.json", "a", "--max-new-tokens", "900000"]
    process = subprocess.Popen(
        [*PROGRAM, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background ignores Ctrl-C, and what it starts would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.strip() == "interrupted"


def test_a_reader_that_has_seen_enough_ends_the_command_quietly():
    process = subprocess.Popen(
        [*PROGRAM, "methods"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    process.stdout = None
    assert process.stderr.read() == ""
    assert process.wait() == 0
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_named():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "methods"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_a_full_disk_refuses_is_shown(capsys):
    from rheostat.cli_console import write_json
    from rheostat.errors import OutputError

    with pytest.raises(OutputError, match="No space left on device") as error:
        write_json(Path("/dev/full"), {"plan": 1})
    assert "standard output" in error.value.hint
    assert json.loads(capsys.readouterr().out) == {"plan": 1}


@pytest.mark.slow
def test_a_profile_is_written_with_its_plots_and_methods_are_fitted_to_it(
    tiny_gguf, folder, monkeypatch
):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(folder / "cache"))
    pytest.importorskip("matplotlib", reason="plots need the `plots` extra")
    made = result_of("profile", tiny_gguf, "--out", "deep/profile.json")
    assert json.loads((folder / "deep" / "profile.json").read_text())["digest"] == made["digest"]
    assert len(list((folder / "deep").glob("profile-*.png"))) == 3
    args = ("generate", tiny_gguf, "the cat", "--max-new-tokens", 4)
    assert (
        result_of(*args, "--set", "llm_drop=1")["cost"]["flops"] < result_of(*args)["cost"]["flops"]
    )
