"""Verifiers of answers: the references, a Python function, or a command, each within its bounds.

    --verifier reference      equal to the task's reference, or right by the tasks' own judge
    --verifier FILE.py:FUNC   func(text) or func(text, task): True, False, or a number from 0 to 1
    --verifier COMMAND        exit code 0 = right, 1 = wrong; the sample as JSON on standard input

A task is its line in the task file with the `answer` that was found in the text. The user's code
runs in a process of its own: whatever raises, hangs or floods is ended and said in one sentence.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

from rheostat.errors import WorkloadError
from rheostat.workloads import verifier_worker
from rheostat.workloads.bounded_process import BoundedProcess, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.engines.base import Request
    from rheostat.workloads.tasks import Tasks

REFERENCE = "reference"
SECONDS = 10.0
"""Longest time for one answer."""
OUTPUT = 16_384
"""Most bytes that may be printed for one answer."""
_FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_TRACEBACK = b"Traceback (most recent call last)"
_HINT = "mend the verifier; finished samples are kept, and the same command goes on from there"


class Verifier(Protocol):
    """Says how right a sample is."""

    name: str
    """As the user gave it."""

    def score(self, request: Request, text: str, answer: str | None) -> float:
        """Return 1 for right, 0 for wrong, or something between.

        Raises:
            WorkloadError: the verifier raised, hung, flooded or gave no verdict.
        """

    def close(self) -> None:
        """End its process."""


def load_verifier(text: str, tasks: Tasks, *, seconds: float = SECONDS) -> Verifier:
    """Return the verifier of a `--verifier` option.

    Raises:
        WorkloadError: there is no such file or command, or tasks without references to go by.
    """
    if text == REFERENCE:
        return _References(tasks)
    function = _FUNCTION.fullmatch(text.strip())
    if function is not None:
        path = Path(function["file"])
        if not path.is_file():
            raise WorkloadError(
                f"the verifier's file `{path}` does not exist",
                hint="`--verifier` is FILE.py:FUNC, a command, or `reference`",
            )
        return _Function(text, path, function["name"], seconds)
    return _Command(text, seconds)


def function_verifier(function: Callable[..., Any]) -> Verifier:
    """Return a function of this process as a verifier; nothing bounds its time."""
    return _Here(function)


@final
class _Here:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = str(getattr(function, "__qualname__", type(function).__name__))
        self._function = function
        self._both = len(inspect.signature(function).parameters) > 1

    def score(self, request: Request, text: str, answer: str | None) -> float:
        task = json.loads(_line(request, text, answer))
        del task["text"]
        try:
            value = self._function(text, task) if self._both else self._function(text)
            return verifier_worker.score_of(value)
        except Exception as error:
            what = f"raised {type(error).__name__}: {error}"
            raise _failed(self.name, request, what) from error

    def close(self) -> None:
        pass


@final
class _References:
    name = REFERENCE

    def __init__(self, tasks: Tasks) -> None:
        missing = next((r for r in tasks.items if tasks.correct(r, "") is None), None)
        if missing is not None:
            raise WorkloadError(
                f"`--verifier {REFERENCE}` needs a reference with every task, `{missing.id}` "
                "has none",
                hint="add `reference` to its line, or name another verifier",
            )
        self._tasks = tasks

    def score(self, request: Request, text: str, answer: str | None) -> float:
        return float(bool(self._tasks.correct(request, answer)))

    def close(self) -> None:
        pass


@final
class _Function:
    """A Python function in one process that serves all samples."""

    def __init__(self, name: str, path: Path, function: str, seconds: float) -> None:
        self.name = name
        self._command = [sys.executable, str(verifier_worker.__file__), str(path), function]
        self._seconds = seconds
        self._process: BoundedProcess | None = None

    def score(self, request: Request, text: str, answer: str | None) -> float:
        try:
            if self._process is None:
                self._process = BoundedProcess(self._command, output=OUTPUT)
                self._reply(None)  # it says when it is ready, or why it cannot be
            score: float = self._reply(_line(request, text, answer))["score"]
        except Failed as failure:
            self.close()
            raise _failed(self.name, request, str(failure)) from failure
        return score

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def _reply(self, line: str | None) -> dict[str, Any]:
        assert self._process is not None
        reply: dict[str, Any] = json.loads(self._process.asked(line, seconds=self._seconds))
        if "error" in reply:
            raise Failed(f"raised {reply['error']}")
        return reply


@final
class _Command:
    """A command that is started for every sample."""

    def __init__(self, text: str, seconds: float) -> None:
        self.name = text
        self._seconds = seconds
        try:
            self._command = shlex.split(text)
        except ValueError as error:
            raise WorkloadError(f"`--verifier {text}` cannot be read: {error}") from error
        if not self._command or shutil.which(self._command[0]) is None:
            raise WorkloadError(
                f"the verifier `{text}` names no command that can be run",
                hint="`--verifier` is FILE.py:FUNC, a command, or `reference`",
            )

    def score(self, request: Request, text: str, answer: str | None) -> float:
        try:
            process = BoundedProcess(self._command, output=OUTPUT)
            code = process.ran(_line(request, text, answer), seconds=self._seconds)
            # an uncaught exception of Python ends with 1 as well
            if code not in (0, 1) or process.printed(_TRACEBACK):
                raise Failed(f"ended with exit code {code}{process.said()}")
        except Failed as failure:
            raise _failed(self.name, request, str(failure)) from failure
        return float(code == 0)

    def close(self) -> None:
        pass


def _line(request: Request, text: str, answer: str | None) -> str:
    line: dict[str, Any] = {"id": request.id, "text": text, "answer": answer}
    if request.prompt is not None:
        line["prompt"] = request.prompt
    else:
        line["messages"] = [dict(message) for message in request.messages]
    return json.dumps(line | {"reference": request.reference}) + "\n"


def _failed(name: str, request: Request, what: str) -> WorkloadError:
    return WorkloadError(f"the verifier `{name}` {what} on a sample of `{request.id}`", hint=_HINT)
