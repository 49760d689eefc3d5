"""The commands around the model: record, solve."""
# ruff: noqa: PLR0913  # a command takes its options one by one

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from rheostat import cli_console as console
from rheostat import cli_options as options
from rheostat.cli_console import guarded
from rheostat.engines.base import Sampling
from rheostat.engines.load import DTYPES
from rheostat.engines.load_sampler import load_sampler
from rheostat.kernel.seams import Installed
from rheostat.stages.record import record as record_samples
from rheostat.workloads.tasks import load_tasks

TEMPERATURE = 0.7

TasksName = Annotated[
    str,
    typer.Option("--tasks", metavar="TASKS", help="A .jsonl file, or gym:NAME?setting=value&…"),
]
Samples = Annotated[int, typer.Option("--samples", help="Samples of each question.")]


def record(
    model: options.Model,
    tasks: TasksName,
    out: options.OutFolder,
    samples: Samples = 16,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    max_new_tokens: options.MaxNewTokens = 128,
    temperature: options.Temperature = TEMPERATURE,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    stop: options.Stop = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw samples of every question and keep them; the same command goes on after a stop."""
    settled = Sampling(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=tuple(stop or ()),
    )
    with console.progress() as say:
        asked = load_tasks(tasks)
        loaded = load_sampler(
            model,
            install=lambda *_: Installed(),
            dtype=dtype or DTYPES[0],
            threads=threads,
            progress=say,
        )
        summary = record_samples(
            loaded,
            asked,
            out,
            samples=samples,
            sampling=settled,
            command=shlex.join(["rheostat", *sys.argv[1:]]),
            progress=say,
        )
    right, majority = summary["right"], summary["majority_right"]
    lines = [
        f"{summary['samples']} samples of {summary['questions']} questions, "
        f"{summary['no_answer']} without an answer; {summary['cost']['new_tokens']} new tokens",
        *(
            [f"right: {right:.3f} of the samples, {majority:.3f} of the majorities"]
            if right is not None
            else []
        ),
        f"wrote {out}; draw from it with `replay:{out}`",
    ]
    console.result(summary, lines, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(guarded(record))
