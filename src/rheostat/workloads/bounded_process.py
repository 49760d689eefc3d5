"""A process of the user's code under a time limit and a limit on what it prints."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SAID = 200
"""Characters of its last words that are passed on."""


class Failed(Exception):
    """What the process did wrong, as the end of a sentence."""


@final
class BoundedProcess:
    """One process: it replies line by line (`asked`), or runs once to its end (`ran`)."""

    def __init__(self, command: Sequence[str], *, output: int) -> None:
        """Keep what is to be started.

        Args:
            command: the program and its arguments; `asked` appends the number of the descriptor
                that replies are read from.
            output: most bytes that it may print for one line or run.
        """
        self._command = list(command)
        self._most = output
        self._printed = b""
        self._process: subprocess.Popen[bytes] | None = None
        """None = not started yet, or ended."""
        self._replies = -1

    def asked(self, line: str | None, *, seconds: float) -> str:
        """Send a line, if there is one, and return the line that it replies.

        Raises:
            Failed: it cannot be started, ended, took too long or printed too much; it is dead then.
        """
        if self._process is None:
            self._replies, own = os.pipe()
            self._start([*self._command, str(own)], keep=(own,))
            os.close(own)
        self._printed, reply = b"", b""
        for source, chunk in self._chunks(line, seconds, close=False):
            if source == self._replies:
                reply += chunk
                if reply.endswith(b"\n"):
                    return reply.decode("utf-8", errors="replace")
        self.end()
        raise Failed(f"ended by itself{self.said()}")

    def ran(self, line: str, *, seconds: float) -> int:
        """Send a line, wait for the end and return the exit code.

        Raises:
            Failed: it cannot be started, took too long or printed too much; it is dead then.
        """
        began = time.monotonic()
        self._start(self._command)
        for _ in self._chunks(line, seconds, close=True):
            pass
        assert self._process is not None
        try:
            return self._process.wait(max(0.0, seconds - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            raise Failed(f"took longer than {seconds:g} seconds") from None
        finally:
            self.end()

    def said(self) -> str:
        """Return its last printed line as the rest of a sentence."""
        lines = self._printed.decode("utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" ({last[:_SAID]})" if last else ""

    def printed(self, text: bytes) -> bool:
        """Return whether it has printed a text."""
        return text in self._printed

    def end(self) -> None:
        """Kill it and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._replies >= 0:
            os.close(self._replies)
            self._replies = -1

    def _start(self, command: list[str], *, keep: tuple[int, ...] = ()) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=keep,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"cannot be started: {error.strerror or error}") from error

    def _chunks(
        self, line: str | None, seconds: float, *, close: bool
    ) -> Iterator[tuple[int, bytes]]:
        """Send a line and yield (descriptor, bytes) until all are closed; enforce both limits."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        printed, sink = self._process.stdout.fileno(), self._process.stdin.fileno()
        unsent, end = (line or "").encode(), time.monotonic() + seconds
        os.set_blocking(sink, False)
        with selectors.DefaultSelector() as ready:
            for source in filter(lambda s: s >= 0, (printed, self._replies)):
                ready.register(source, selectors.EVENT_READ)
            ready.register(sink, selectors.EVENT_WRITE)
            while len(ready.get_map()) > (sink in ready.get_map()):
                left = end - time.monotonic()
                if left <= 0:
                    self.end()
                    raise Failed(f"took longer than {seconds:g} seconds")
                for key, _ in ready.select(left):
                    if key.fd == sink:
                        unsent = _written(sink, unsent)
                        if not unsent:
                            ready.unregister(sink)
                            if close:
                                self._process.stdin.close()
                        continue
                    chunk = os.read(key.fd, 65_536)
                    if not chunk:
                        ready.unregister(key.fd)
                        continue
                    if key.fd == printed:
                        self._count(chunk)
                    yield key.fd, chunk

    def _count(self, chunk: bytes) -> None:
        self._printed += chunk
        if len(self._printed) > self._most:
            self.end()
            raise Failed(f"printed more than {self._most} bytes")


def _written(sink: int, data: bytes) -> bytes:
    """Write what a pipe takes; return the rest, which is nothing when nobody reads any more."""
    try:
        return data[os.write(sink, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""
