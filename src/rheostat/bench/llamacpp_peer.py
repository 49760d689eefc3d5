"""The peer in the file's own 4 bits: llama.cpp, through `xllamacpp`, in a process of its own.

A kind of n-gram speculation that does not start, crashes or hangs ends its process and no other.
The process is `python -m` this module: it reads one JSON object a line and answers likewise.
It imports no torch, so that its memory is llama.cpp's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from rheostat.errors import RheostatError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = (
    "NONE",
    "NGRAM_SIMPLE",
    "NGRAM_SIMPLE 3 10",
    "NGRAM_MAP_K",
    "NGRAM_MAP_K 3 10",
    "NGRAM_MAP_K4V",
    "NGRAM_MOD",
    "NGRAM_CACHE",
)
"""Kinds of speculation that need no second model, as llama.cpp calls them; NONE = dense. Numbers
are the tokens that must match and those that are drafted, in place of its own 12 and 48."""
LIMIT = 300.0
"""Seconds after which an answer is given up."""
_KIND = "COMMON_SPECULATIVE_TYPE_"


class PeerError(RheostatError):
    """A peer gave no answer."""


class Reply(NamedTuple):
    """An answer of llama.cpp."""

    text: str
    tokens: int
    """New tokens, the end token left out."""
    seconds: float
    first_seconds: float
    """Of these, the reading of the prompt."""
    peak_bytes: int | None
    """Most memory that its process held so far."""


class Order(NamedTuple):
    """What a server is to load."""

    path: str
    kind: str
    """One of `KINDS`."""
    threads: int
    context: int
    """Tokens of a prompt and its answer, at most."""
    rows: int = 1
    """Prompts that are answered at once."""


@final
class LlamaCpp:
    """A llama.cpp server of one kind of speculation; it starts with the first answer."""

    def __init__(
        self, order: Order, *, worker: Sequence[str] = (sys.executable, "-m", __name__)
    ) -> None:
        """Say what is to be loaded."""
        self._command = [*worker, json.dumps(order._asdict())]
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._failure: str | None = None

    def answer(self, prompt: Sequence[int], *, new_tokens: int) -> Reply:
        """Decode greedily; raise `PeerError` when it cannot, ever after when its process ended."""
        return self.answers([prompt], new_tokens=new_tokens)[0]

    def answers(self, prompts: Sequence[Sequence[int]], *, new_tokens: int) -> list[Reply]:
        """Decode several prompts at the same time, or raise `PeerError`."""
        if self._failure is None:
            asked = {"prompts": [list(prompt) for prompt in prompts], "new_tokens": new_tokens}
            line = self._asked(json.dumps(asked))
            try:
                replies = json.loads(line)
            except ValueError:
                self._failure = self._last_words()
            else:
                errors = [str(reply["error"]) for reply in replies if "error" in reply]
                if errors:
                    raise PeerError(errors[0])
                return [Reply(**reply) for reply in replies]
        raise PeerError(self._failure)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._log.close()

    def _asked(self, line: str) -> str:
        """Send a line and return the one that comes back, empty when the process ended."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        process = self._process
        watch = threading.Timer(LIMIT, process.kill)
        watch.start()
        try:
            if process.stdin is None or process.stdout is None:
                return ""
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline()
        except BrokenPipeError:
            return ""
        finally:
            watch.cancel()

    def _last_words(self) -> str:
        """Say how the process ended, with the last line that it wrote."""
        status = None
        if self._process is not None:
            if self._process.poll() is None:  # alive, but what it says is no answer
                self._process.kill()
            status = self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        return f"ended with status {status}: {lines[-1].strip() if lines else 'without a word'}"


def check_installed() -> None:
    """Raise `UserError` where `xllamacpp` is missing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise UserError(
            "this suite compares with llama.cpp, whose package `xllamacpp` is not installed",
            hint='pip install "rheostat[dev]"',
        )


def build_facts() -> dict[str, str]:
    """Return version and instruction sets of the llama.cpp that answers."""
    import xllamacpp

    return {"xllamacpp": xllamacpp.__version__, "system": xllamacpp.get_system_info().strip()}


def peak_memory() -> int | None:
    """Return the most bytes that this process held at once; None where the system does not say.

    `ru_maxrss` will not do: a child process starts with its parent's.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    held = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(held[0].split()[1]) * 1024 if held else None


def _work(order: dict[str, Any]) -> None:
    """Answer line by line until there are no more."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries write must not come between the answers
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["path"]
    params.n_ctx = order["context"] * order["rows"]
    params.n_parallel = order["rows"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    kinds = xllamacpp.common_speculative_type
    kind, *sizes = order["kind"].split()
    params.speculative.types = [kinds[_KIND + kind]]
    if sizes:
        chosen = getattr(params.speculative, kind.lower())
        chosen.size_n, chosen.size_m = map(int, sizes)
    server = xllamacpp.Server(params)
    with ThreadPoolExecutor(order["rows"]) as pool:
        for line in sys.stdin:
            asked = json.loads(line)
            reply = partial(_reply, server, new_tokens=asked["new_tokens"])
            replies.write(json.dumps(list(pool.map(reply, asked["prompts"]))) + "\n")
            replies.flush()


def _reply(server: Any, prompt: list[int], *, new_tokens: int) -> dict[str, Any]:
    start = time.perf_counter()
    got = server.handle_completions(
        {
            "prompt": prompt,
            "n_predict": new_tokens,
            "temperature": 0,
            "top_k": 1,  # greedy too, and spares sorting the vocabulary
            "cache_prompt": False,
        }
    )
    seconds = time.perf_counter() - start
    got = json.loads(got) if isinstance(got, str) else got
    if "choices" not in got:
        return {"error": str(got.get("error", got))}
    choice = got["choices"][0]
    ended = choice["finish_reason"] == "stop"  # the end token was counted
    return {
        "text": choice["text"],
        "tokens": got["usage"]["completion_tokens"] - ended,
        "seconds": seconds,
        "first_seconds": got["timings"]["prompt_ms"] / 1000,
        "peak_bytes": peak_memory(),
    }


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
