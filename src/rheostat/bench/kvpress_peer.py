"""The peer of the cache suite: NVIDIA's kvpress, from an environment of its own; a benchmark only.

The package pins an older `transformers` than this project is tested with, so it can run in another
Python with kvpress and gguf, which `RHEOSTAT_KVPRESS_PYTHON` names; else in this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch

import rheostat.bench
from rheostat.bench.llamacpp_peer import PeerError
from rheostat.engines.embedded import EMBEDDED, embedded_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rheostat.bench.cache_texts import Long

VARIABLE = "RHEOSTAT_KVPRESS_PYTHON"
WORKER = Path(str(rheostat.bench.__file__)).parent / "kvpress_worker.py"
_ASK = (
    "from importlib.metadata import version; import gguf, kvpress; "
    "print(version('kvpress'), version('transformers'))"
)


class Versions(NamedTuple):
    """What is installed in the peer's environment."""

    kvpress: str
    transformers: str


def installed(python: str) -> Versions | None:
    """Return the versions in an environment; None where the package cannot be imported there."""
    asked = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, text=True, check=False)
    found = asked.stdout.split()
    return Versions(*found) if asked.returncode == 0 and len(found) == 2 else None


@final
class KvPress:
    """A process that reads texts under the package's presses; it starts with the first text."""

    def __init__(self, worker: Sequence[str], file: Path, versions: Versions) -> None:
        """Name the worker's command and the model's GGUF file."""
        self.versions = versions
        self._worker = worker
        self._file = file
        self._process: subprocess.Popen[str] | None = None

    def read(self, text: Long, kept: Mapping[str, int]) -> dict[str, Any]:
        """Return what each press makes of a text, by its name and the share.

        Args:
            text: its prompt is read whole, and its continuation after what is kept.
            kept: by share, how many of the prompt's tokens a press keeps.

        Raises:
            PeerError: the process ended.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                self._worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            named = {"folder": str(self._file.parent), "file": self._file.name}
            self._send(named | {"threads": torch.get_num_threads()})
        told, prompt = text.continuation, text.prompt
        self._send({"prompt": prompt, "continuation": told, "kept": kept})
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError("kvpress ended without an answer")
        made: dict[str, Any] = json.loads(line)
        return made

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # closes its pipes, too

    def _send(self, order: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise PeerError("kvpress ended without an answer") from error


@contextmanager
def kvpress_of(model: str, say: Callable[[str], None]) -> Iterator[KvPress | None]:
    """Give the peer on an embedded model; None where the package is not installed."""
    python = os.environ.get(VARIABLE) or sys.executable
    versions = installed(python)
    if versions is None:
        say(f"kvpress is not compared: it is not installed for `{python}`")
        yield None
        return
    file = embedded_file(EMBEDDED[model], progress=say)
    peer = KvPress((python, "-I", str(WORKER)), file, versions)
    try:
        yield peer
    finally:
        peer.close()
