"""What the command line says: results on stdout, everything else on stderr, errors in one form."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import sys
import tempfile
import threading
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, final

import typer
from rich.console import Console

from rheostat.engines.enough_memory import FEWER, is_short
from rheostat.engines.notice import Notice
from rheostat.errors import MemoryShortError, OutputError, RheostatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.table import Table

P = ParamSpec("P")
INTERRUPTED = 130
SECONDS_BETWEEN = 2.0
"""Least seconds between two lines of progress."""


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a command's errors into a sentence, a hint and an exit code."""

    @functools.wraps(command)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> None:
        code = _attempted(
            lambda: command(*args, **kwargs),
            name=command.__name__,
            debug=bool(kwargs.get("debug")),
        )
        if code:
            raise typer.Exit(code)

    return attempt


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield what shows progress: a status line on a terminal, plain lines elsewhere.

    A `Notice` becomes a line that stays, once.
    """
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status("starting") as status:
            yield _noticing(lambda text: console.out(text, highlight=False), status.update)
    else:
        lines = _SlowLines()
        try:
            yield _noticing(note, lines.say)
            lines.finish()
        finally:
            lines.close()


def _noticing(stays: Callable[[str], None], passes: Callable[[str], None]) -> Callable[[str], None]:
    """Send each notice one way, once, and all else the other."""
    told: set[str] = set()

    def say(text: str) -> None:
        if not isinstance(text, Notice):
            passes(text)
        elif text not in told:
            told.add(text)
            stays(text)

    return say


def note(text: str) -> None:
    """Say something beside the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def counted(count: int, noun: str) -> str:
    """Write a count and its noun: 1 request, 2 requests, 2 passes."""
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def write(text: str) -> None:
    """Write a part of the result."""
    sys.stdout.write(text)
    sys.stdout.flush()


def result(data: dict[str, Any], lines: Sequence[str | Table], *, as_json: bool) -> None:
    """Show a command's result: for people, or as one JSON object on the last line."""
    if as_json:
        write(json.dumps(finite(data), allow_nan=False) + "\n")
        return
    for line in lines:
        write(f"{line}\n" if isinstance(line, str) else _drawn(line))


def finite(data: Any) -> Any:
    """Replace numbers that strict JSON does not know by null."""
    if isinstance(data, dict):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def writable(path: Path) -> Path:
    """Make the folder of a file that will be written; raise `OutputError` before work is lost."""
    if path.is_dir():
        raise OutputError(f"`{path}` is a folder", hint="name a file with `--out`")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"`{path}` cannot be written: no permission", hint="name another file")
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # some folders say that they can be written
            return path
    except OSError as error:
        raise _unwritable(path, error) from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file; where that fails, show it on stdout and raise `OutputError`."""
    text = json.dumps(finite(data), indent=2) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        write(text)
        raise OutputError(
            f"`{path}` cannot be written: {error.strerror or error}",
            hint="what it should hold is on standard output",
        ) from error


@final
class _SlowLines:
    """Progress as lines: one when something has taken a while, and at most one in that time."""

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._waiting = threading.Timer(0, note)
        self._held: str | None = None
        self._begun = False

    def say(self, text: str) -> None:
        """Show the text now, or later when nothing newer has come by then."""
        self._waiting.cancel()
        wait = self._said + SECONDS_BETWEEN - time.monotonic()
        if wait <= 0:
            self._show(text)
        else:
            self._held = text
            self._waiting = threading.Timer(wait, self._show, [text])
            self._waiting.daemon = True
            self._waiting.start()

    def finish(self) -> None:
        """End lines that were begun with the last of them: `2 of 2` where `1 of 2` was shown."""
        self._waiting.cancel()
        if self._waiting.is_alive():
            self._waiting.join()
        if self._begun and self._held is not None:
            self._show(self._held)

    def close(self) -> None:
        """Forget what was not yet shown."""
        self._waiting.cancel()

    def _show(self, text: str) -> None:
        self._said = time.monotonic()
        self._held, self._begun = None, True
        note(text)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"`{path}` cannot be written: {error.strerror or error}", hint="name another file"
    )


def _drawn(drawn: Table) -> str:
    # Rich ends the process when its output is closed; here that is a quiet end of the command.
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)
    with console.capture() as captured:
        console.print(drawn)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _attempted(action: Callable[[], None], *, name: str, debug: bool) -> int:
    """Run a command; return its exit code after saying what went wrong."""
    try:
        action()
        sys.stdout.flush()
    except RheostatError as error:
        hint = error.hint or f"`rheostat {name} --help` lists what can be asked for"
        _complain(error.message, hint, debug=debug)
        return error.exit_code
    except KeyboardInterrupt as stop:
        note(f"\n{stop}" if str(stop) else "\ninterrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _close_stdout()
    except Exception as error:
        return _unexpected(error, debug=debug)
    return 0


def _unexpected(error: Exception, *, debug: bool) -> int:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        _close_stdout()
        hint = "free some space; `run` goes on from what is finished"
        _complain(f"the output cannot be written: {error.strerror}", hint, debug=debug)
        return OutputError.exit_code
    if is_short(error):
        _complain(f"memory ran out: {error or type(error).__name__}", FEWER, debug=debug)
        return MemoryShortError.exit_code
    hint = "please report this with the traceback above" if debug else "`--debug` shows where"
    _complain(f"internal error: {type(error).__name__}: {error}", hint, debug=debug)
    return RheostatError.exit_code


def _complain(message: str, hint: str, *, debug: bool) -> None:
    if debug:
        note(traceback.format_exc())
    note(f"{message}\n\nhint: {hint}")


def _close_stdout() -> None:
    """Let the interpreter's last flush go nowhere: nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
