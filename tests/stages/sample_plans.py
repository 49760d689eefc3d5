"""Recordings of scripted questions of many difficulties, to plan on."""

from __future__ import annotations

import json

import numpy as np

from rheostat.engines.base import Sampling
from rheostat.stages.record import record
from rheostat.workloads.tasks import load_tasks
from stages.sample_runs import ending

QUESTIONS = 60
SAMPLES = 8
SAMPLING = Sampling(max_new_tokens=6, temperature=1.0)
NAMES = tuple(f"q{i}" for i in range(QUESTIONS))


def spec():
    """Questions whose right answer is `1`, at a share of samples that differs."""
    shares = np.random.default_rng(3).beta(2.0, 1.2, QUESTIONS)
    return {
        "vocabulary": [*NAMES, "1", "2", "3", "so", "<end>"],
        "default": {"<end>": 1.0},
        "answers": {
            name: {
                "1": float(share) * 0.8,
                "so so 1": float(share) * 0.2,
                "2": (1 - float(share)) * 0.6,
                "so 3": (1 - float(share)) * 0.4,
            }
            for name, share in zip(NAMES, shares, strict=True)
        },
    }


def write_tasks(path, names=NAMES, *, reference="1"):
    """Write a question a line; return the path as text."""
    right = {} if reference is None else {"reference": reference}
    lines = (json.dumps({"id": n, "prompt": n, **right}) + "\n" for n in names)
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def write_spec(folder):
    """Write the model's spec; return the model's name."""
    path = folder / "spec.json"
    path.write_text(json.dumps(spec()), encoding="utf-8")
    return f"scripted:{path}"


def recorded(model, tasks, out, *, dtype=None, **more):
    """Record; return the recording's name."""
    made = ending(model, **more)
    if dtype is not None:
        made = made._replace(dtype=dtype)
    record(made, load_tasks(tasks), out, samples=SAMPLES, sampling=SAMPLING)
    return f"replay:{out}"
