"""Scripted runs that end at a chosen moment, in this process or, when killed, in one of their own.

As a program: `scripted_runs.py SPEC REQUESTS OUT BATCH AFTER` answers AFTER requests, then kills
itself in the middle of the next.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from rheostat.engines.base import Sampling
from rheostat.engines.scripted import load_scripted
from rheostat.kernel.plan import Plan
from rheostat.stages.run import run

SPEC = {
    "vocabulary": ["a", "b", "c", "<end>"],
    "context": 64,
    "default": {"a": 0.4, "b": 0.3, "c": 0.1, "<end>": 0.2},
}
PROMPTS = ("a", "b", "c", "a b", "b c", "c a", "a a", "b b", "c c", "a b c")
SAMPLING = Sampling(max_new_tokens=24, temperature=1.0)


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """Write the model's spec and the requests; return both paths."""
    spec, requests = folder / "spec.json", folder / "requests.jsonl"
    spec.write_text(json.dumps(SPEC), encoding="utf-8")
    lines = (json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)
    requests.write_text("".join(lines), encoding="utf-8")
    return spec, requests


class Ending:
    """A scripted engine that ends after some outputs, and notes which requests it was given."""

    def __init__(self, spec, *, after=None, end=None):
        self._engine = load_scripted(spec)
        self._after, self._end = after, end
        self.given = []
        self.finished = []

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def generate(self, requests, sampling, **more):
        self.given += [request.id for request in requests]
        for output in self._engine.generate(requests, sampling, **more):
            if len(self.finished) == self._after:
                self._end()
            self.finished.append(output.id)
            yield output


def answer(engine, requests, out, **more):
    return run(Plan(model=engine.model), requests, out, sampling=SAMPLING, engine=engine, **more)


def files_of(folder):
    """What a run left, without what differs between folders."""
    return {name: (folder / name).read_bytes() for name in ("outputs.jsonl", "trace.jsonl")}


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    spec, requests, out, batch, after = sys.argv[1:]
    engine = Ending(spec, after=int(after), end=killed)
    answer(engine, requests, Path(out), batch=int(batch))
