"""A cluster that `ray start` made, joined by its host and port under Ray's own tokens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("ray", reason="needs the `ray` extra")

from stages.sample_runs import answers_in, write_inputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc"),
]

TOKEN = "0123456789abcdef" * 4
PROGRAM = (sys.executable, "-c", "from rheostat.cli import main; main()")
STARTED = "Ray runtime started"


def environment(home, **changes):
    """This environment with another home, without what it says of Ray but for the changes."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return kept | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"} | changes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home without a token."""
    return tmp_path_factory.mktemp("home")


@contextmanager
def cluster_of(home):
    """A cluster that asks for `TOKEN`: its address, and the process that ends it."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # paths of sockets are short
    with socket.socket() as held:
        held.bind(("", 0))
        port = held.getsockname()[1]
    asked = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"),
        *("--include-dashboard=false", f"--object-store-memory={100 << 20}", "--temp-dir", folder),
    ]
    log = Path(folder) / "log"
    env = environment(home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    with log.open("wb") as out:
        started = subprocess.Popen(asked, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        for _ in range(600):
            if STARTED in log.read_text() or started.poll() is not None:
                break
            time.sleep(0.1)
        assert STARTED in log.read_text(), log.read_text()
        yield f"127.0.0.1:{port}", started
    finally:
        started.terminate()  # it ends what it started
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def head(home):
    """Address of a cluster that asks for `TOKEN`."""
    with cluster_of(home) as (address, _):
        yield address


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def solved(inputs, out, env, *options):
    """Run `rheostat solve` in a process of its own."""
    model, tasks = inputs
    asked = ["solve", model, "--tasks", tasks, "--budget", "tokens=400", "--out", str(out)]
    drawn = ["--samples", "4", "--max-new-tokens", "8", "--temperature", "1"]
    command = [*PROGRAM, *asked, *drawn, *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["token", "path"])
def test_a_cluster_is_joined_by_its_address_with_its_token(head, home, inputs, tmp_path, form):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    given = {"token": {"RAY_AUTH_TOKEN": TOKEN}, "path": {"RAY_AUTH_TOKEN_PATH": str(path)}}[form]
    env = environment(home, RAY_AUTH_MODE="token", **given)
    spread = solved(inputs, tmp_path / "a", env, "--ray", head)
    assert spread.returncode == 0, spread.stderr
    alone = solved(inputs, tmp_path / "b", env)
    assert alone.returncode == 0, alone.stderr

    def decided(folder):
        return [(x["id"], x["answer"], x["samples"]) for x in answers_in(folder)]

    assert decided(tmp_path / "a") == decided(tmp_path / "b")


def test_a_search_is_spread_over_a_cluster_at_an_address(
    head, home, questions, tmp_path, stages_cache
):
    from contract.tiny_engine import LAYERS
    from engines.tiny_gguf import write_tiny_gguf

    model = write_tiny_gguf(tmp_path / "deep.gguf", layers=LAYERS, seed=2)
    out = tmp_path / "plan.json"
    goal = ["--max-loss", "0.6", "--loss", "disagree", "--items", "10", "--threads", "1"]
    asked = [*PROGRAM, "plan", str(model), "--workload", questions, *goal, "--out", str(out)]
    env = environment(home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    options = ["--max-new-tokens", "8", "--ray", head]
    done = subprocess.run([*asked, *options], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())["predicted"]["tried"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN[::-1]}, "does not take the token"),
        ({"RAY_AUTH_MODE": "token"}, "there is no token for the Ray cluster"),
        ({"RAY_AUTH_TOKEN": TOKEN}, "asks for a token, and none is sent to it"),
        ({}, "asks for a token, and none is sent to it"),
    ],
)
def test_without_its_token_a_cluster_refuses_in_one_sentence(
    head, home, inputs, tmp_path, given, said
):
    done = solved(inputs, tmp_path / "out", environment(home, **given), "--ray", head)
    assert done.returncode == 2
    assert said in done.stderr
    assert head in done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert TOKEN[::-1] not in done.stdout + done.stderr
    assert "gcs_client" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_cluster_of_which_a_part_hangs_is_given_up(home, inputs, tmp_path):
    env = environment(home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    with cluster_of(home) as (address, head):
        part = child_of(head.pid, b"/raylet")
        os.kill(part, signal.SIGSTOP)
        try:
            done = solved(inputs, tmp_path / "out", env, "--ray", address)
        finally:
            os.kill(part, signal.SIGCONT)
    assert done.returncode == 2
    assert f"the Ray cluster at `{address}` did not let this machine in within" in done.stderr


def child_of(pid, name):
    """The child of a process whose program ends with a name."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    programs = {int(c): Path(f"/proc/{c}/cmdline").read_bytes().split(b"\0")[0] for c in children}
    (found,) = [child for child, program in programs.items() if program.endswith(name)]
    return found
