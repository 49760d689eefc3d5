"""The commands around the model: record, solve."""
# ruff: noqa: PLR0913  # a command takes its options one by one

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rheostat import api_solve, cli_tables
from rheostat import cli_console as console
from rheostat import cli_options as options
from rheostat.cli_console import guarded
from rheostat.engines.base import Sampling
from rheostat.engines.load import DTYPES
from rheostat.engines.load_sampler import load_sampler
from rheostat.kernel.seams import Installed
from rheostat.stages.record import record as record_samples
from rheostat.stages.settings import parse_changes
from rheostat.stages.solve_driver import Limits
from rheostat.workloads.tasks import load_tasks

TEMPERATURE = 0.7

TasksName = Annotated[
    str,
    typer.Option("--tasks", metavar="TASKS", help="A .jsonl file, or gym:NAME?setting=value&…"),
]
Samples = Annotated[int, typer.Option("--samples", help="Samples of each question.")]
MostSamples = Annotated[
    int | None,
    typer.Option("--samples", help="Most samples of a question. [default: the plan's, else 16]"),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="B",
        help="tokens=N[,seconds=S][,usd=U] over all of it; a plan of samples needs none.",
    ),
]
Rule = Annotated[
    str | None,
    typer.Option(
        "--rule", metavar="NAME", help="When to stop. [default: the plan's, else agreement]"
    ),
]
Confidence = Annotated[
    float | None, typer.Option("--confidence", help="Of the rule's promise. [default: 0.95]")
]
VerifierName = Annotated[
    str | None,
    typer.Option("--verifier", metavar="V", help="FILE.py:FUNC, a command, or reference."),
]
Prices = Annotated[
    Path | None, typer.Option("--prices", help="JSON: dollars a million tokens, by model.")
]
Learn = Annotated[
    Path | None,
    typer.Option("--learn", metavar="STORE", help="Samples with verdicts to learn from first."),
]
Frugal = Annotated[
    float,
    typer.Option(
        "--frugal",
        metavar="X",
        help="Solutions that a question must promise for 1,000 tokens spent in vain; 0 asks none.",
    ),
]
SomeTemperature = Annotated[
    float | None, typer.Option("--temperature", max=1e6, help="[default: the recording's, 0.7]")
]
SomeSeed = Annotated[
    int | None, typer.Option("--seed", min=0, help="[default: the recording's, 0]")
]
InFlight = Annotated[
    int, typer.Option("--in-flight", help="Questions whose samples run at the same time.")
]
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Let workers of a Ray cluster draw; or `local`."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Of that cluster. [default: all its processors]"),
]
Width = Annotated[int, typer.Option("--width", help="Samples that are decided on together.")]


def record(
    model: options.Model,
    tasks: TasksName,
    out: options.OutFolder,
    samples: Samples = 16,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    device: options.Device = None,
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
            device=device,
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
    console.result(summary, _record_lines(summary, out), as_json=as_json)


def _record_lines(summary: dict[str, Any], out: Path) -> list[str]:
    right, majority = summary["right"], summary["majority_right"]
    return [
        f"{summary['samples']} samples of {summary['questions']} questions, "
        f"{summary['no_answer']} without an answer; {summary['cost']['new_tokens']} new tokens",
        *(
            [f"right: {right:.3f} of the samples, {majority:.3f} of the majorities"]
            if right is not None
            else []
        ),
        f"wrote {out}; draw from it with `replay:{out}`",
    ]


def solve(
    model: options.Model,
    tasks: TasksName,
    out: options.OutFolder,
    budget: Budget = None,
    plan_file: options.PlanFile = None,
    samples: MostSamples = None,
    rule: Rule = None,
    confidence: Confidence = None,
    verifier: VerifierName = None,
    learn: Learn = None,
    frugal: Frugal = 0.0,
    prices: Prices = None,
    sets: options.Set = None,
    params: options.Param = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    device: options.Device = None,
    seed: SomeSeed = None,
    max_new_tokens: options.SomeNewTokens = None,
    temperature: SomeTemperature = None,
    in_flight: InFlight = 32,
    width: Width = 64,
    ray: Ray = None,
    workers: Workers = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Answer questions by samples under one budget; the same command goes on after a stop."""
    drawn = {"seed": seed, "max_new_tokens": max_new_tokens, "temperature": temperature}
    with console.progress() as say:
        summary = api_solve.solved(
            model,
            tasks,
            budget=budget,
            out=out,
            plan=plan_file,
            changes=parse_changes(sets or [], params or []),
            samples=samples,
            rule=rule,
            confidence=confidence,
            verifier=verifier,
            learn=learn,
            frugal=frugal,
            prices=prices,
            dtype=dtype,
            threads=threads,
            device=device,
            limits=Limits(width=width, in_flight=in_flight),
            ray=ray,
            workers=workers,
            sampling={name: value for name, value in drawn.items() if value is not None},
            command=shlex.join(["rheostat", *sys.argv[1:]]),
            progress=say,
        )
    console.result(summary, cli_tables.solve_lines(summary), as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(guarded(record))
    app.command()(guarded(solve))
