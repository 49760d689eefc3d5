"""Recordings and solved tasks on scripted samples that end at a chosen moment.

As a program, `sample_runs.py record|prune|TOKENS MODEL TASKS OUT AFTER` lets AFTER samples end,
then kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from rheostat.engines.base import Sampling
from rheostat.engines.load_sampler import load_sampler
from rheostat.engines.sample_store import SampleStore
from rheostat.kernel.budget import Caps
from rheostat.kernel.plan import Plan
from rheostat.kernel.policies.cluster_pruning import Clusters
from rheostat.kernel.seams import Installed
from rheostat.stages.record import record
from rheostat.stages.solve import Job, solve
from rheostat.stages.solve_driver import Limits
from rheostat.workloads.tasks import load_tasks
from stages.counting_policies import Lead

NAMES = ("easy", "even", "hard", "split", "silent", "lost")
WORDS = (*NAMES, "one", "two", "three", "so", "1", "2", "3", "<end>")
SPEC = {
    "vocabulary": WORDS,
    "default": {"<end>": 1.0},
    "answers": {
        "easy": {"1": 9, "so 2": 1},
        "even": {"so 1": 5, "2": 5},
        "hard": {"so so 1": 3, "2": 2, "3": 2, "so": 3},
        "split": {"1": 1, "so 2": 1, "so so 3": 1},
        "silent": {"so so": 1},
        "lost": {"2": 8, "so so so 1": 2},
    },
    "durations": {"2": 3, "so 2": 5, "1": 9, "so 1": 7, "so so 1": 20},
}
SAMPLING = Sampling(max_new_tokens=8, temperature=1.0)
SAMPLES = 6


def write_inputs(folder: Path) -> tuple[str, str]:
    """Write the model's spec and the tasks; return the model's name and the tasks' path."""
    spec, tasks = folder / "spec.json", folder / "tasks.jsonl"
    spec.write_text(json.dumps(SPEC), encoding="utf-8")
    lines = (json.dumps({"id": n, "prompt": n, "reference": "1"}) + "\n" for n in NAMES)
    tasks.write_text("".join(lines), encoding="utf-8")
    return f"scripted:{spec}", str(tasks)


def loaded(model, policy=None):
    return load_sampler(model, install=lambda *_: Installed(sample=policy))


class Ending:
    """A sampler that ends after some samples; it notes every launch."""

    def __init__(self, sampler, *, after=None, end=None):
        self._sampler = sampler
        self._after, self._end = after, end
        self.launches = []
        self.ended = 0

    def __getattr__(self, name):
        return getattr(self._sampler, name)

    def launch(self, draw, reservation):
        self.launches.append((draw.question, draw.index))
        self._sampler.launch(draw, reservation)

    def poll(self):
        if self._after is not None and self.ended >= self._after:
            self._end()
        ended = self._sampler.poll()
        self.ended += len(ended)
        return ended


def recorded(made, tasks, out, **more):
    asked = {"samples": SAMPLES, "sampling": SAMPLING, **more}
    return record(made, load_tasks(tasks), out, **asked)


def solved(made, tasks, out, *, tokens=None, in_flight=32, more=None, **job):
    """Solve the tasks; return the lines of the answers."""
    budget = job.pop("budget", Caps(tokens=tokens))
    asked = {"samples": SAMPLES, "sampling": made.recorded or SAMPLING, **job}
    limits = Limits(in_flight=in_flight)
    plan = Plan(model=made.sampler.model)
    solve(
        made,
        Job(tasks=load_tasks(tasks), plan=plan, budget=budget, limits=limits, **asked),
        out,
        **(more or {}),
    )
    return answers_in(out)


def answers_in(folder):
    lines = (Path(folder) / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ending(model, policy=None, **more):
    made = loaded(model, policy)
    return made._replace(sampler=Ending(made.sampler, **more))


def samples_in(folder):
    """Everything that a store holds, in order."""
    store = SampleStore(Path(folder), create=False)
    held = list(store.all())
    store.close()
    return held


def program_environment():
    """Variables under which this file runs as a program."""
    home = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([home, *sys.path])}


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    what, model, tasks, out, after = sys.argv[1:]
    if what == "record":
        recorded(ending(model, after=int(after), end=killed), tasks, Path(out))
    elif what == "prune":
        pruning = Clusters(threshold=0.5, length=2, most=1)
        solved(ending(model, pruning, after=int(after), end=killed), tasks, out, tokens=10_000)
    else:
        made = ending(model, Lead(burst=2), after=int(after), end=killed)
        solved(made, tasks, Path(out), tokens=int(what))
