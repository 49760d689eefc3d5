"""The command `plan`: dials of a model on texts, or samples of questions to solve."""
# ruff: noqa: PLR0913  # a command takes its options one by one

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rheostat import api, api_plan_samples, cli_tables
from rheostat import cli_console as console
from rheostat import cli_options as options
from rheostat.api_plan_samples import ENDING as SAMPLES_ENDING
from rheostat.cli_console import guarded
from rheostat.engines.base import Sampling
from rheostat.engines.load import DTYPES, load_engine
from rheostat.errors import PlanError
from rheostat.stages.recordings import is_recording
from rheostat.stages.search_journal import ENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rheostat.kernel.plan import Plan

    Say = Callable[[str], None]

SomeTasks = Annotated[
    str | None,
    typer.Option(
        "--tasks", metavar="TASKS", help="Questions to solve: a .jsonl file, or gym:NAME?…"
    ),
]
SomeSamples = Annotated[
    int | None,
    typer.Option("--samples", help="Samples of each question to record first. [default: 16]"),
]
SomeTemperature = Annotated[
    float | None, typer.Option("--temperature", max=1e6, help="Of those samples. [default: 0.7]")
]


def plan(
    models: options.PlanModels,
    out: options.OutFile,
    workload: options.PlanWorkload = None,
    tasks: SomeTasks = None,
    lossless: options.Lossless = False,
    max_loss: options.MaxLoss = None,
    loss: options.Loss = None,
    max_cost: options.MaxCost = None,
    confidence: options.Confidence = None,
    precision: options.Precisions = None,
    samples: SomeSamples = None,
    temperature: SomeTemperature = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    device: options.Device = None,
    cuda_graphs: options.CudaGraphs = False,
    seed: options.Seed = 0,
    max_new_tokens: options.SomeNewTokens = None,
    items: options.Items = None,
    ray: options.Ray = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Find the cheapest setting for texts or questions; the same command goes on after a stop."""
    of_samples = tasks is not None or any(map(is_recording, models))
    alone: dict[str, Any] = {"samples": samples, "temperature": temperature}
    others: dict[str, Any] = {
        "workload": workload,
        "lossless": lossless or None,
        "max_cost": max_cost,
        "items": items,
        "ray": ray,
        "cuda_graphs": cuda_graphs or None,
    }
    _refuse(others if of_samples else alone, of_samples=of_samples)
    Sampling(max_new_tokens=128 if max_new_tokens is None else max_new_tokens)
    console.writable(out)
    asked = alone if of_samples else others
    asked |= {
        "max_loss": max_loss,
        "loss": loss,
        "confidence": confidence,
        "precisions": tuple(precision or ()),
        "dtype": dtype,
        "threads": threads,
        "device": device,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    with console.progress() as say:
        of_kind = partial(_of_samples, tasks=tasks) if of_samples else _of_texts
        made = of_kind(models, out, given, say)
    data = made.to_json()
    console.write_json(out, data)
    lines = cli_tables.sample_plan_lines if of_samples else cli_tables.plan_lines
    console.result(data | {"out": str(out)}, lines(made, str(out)), as_json=as_json)


def _refuse(given: Mapping[str, Any], *, of_samples: bool) -> None:
    """Refuse options of the other kind of plan."""
    for name, value in given.items():
        if value is None:
            continue
        option = f"--{name.replace('_', '-')}"
        if of_samples:
            raise PlanError(
                f"`{option}` is for plans of texts, and questions to solve are asked for",
                hint=f"leave `{option}` out; what may be lost is `--max-loss 0.02`",
            )
        raise PlanError(
            f"`{option}` is for questions to solve, and none are asked for",
            hint="add `--tasks T`, or leave it out",
        )


def _of_samples(
    models: list[str], out: Path, given: dict[str, Any], say: Say, *, tasks: str | None
) -> Plan:
    names = ("temperature", "max_new_tokens")
    drawn = {name: given.pop(name) for name in names if name in given}
    return api_plan_samples.plan_samples(
        models,
        tasks,
        sampling=drawn,
        store=out.with_name(out.name + SAMPLES_ENDING),
        command=shlex.join(["rheostat", *sys.argv[1:]]),
        progress=say,
        **given,
    )


def _of_texts(models: list[str], out: Path, given: dict[str, Any], say: Say) -> Plan:
    if len(models) > 1:
        raise PlanError(
            f"a plan is of one model, and {len(models)} are named: {', '.join(models)}",
            hint="make a plan of each",
        )
    if "workload" not in given:
        raise PlanError(
            "a plan needs texts, or questions to solve",
            hint="give `--workload edit` or another, or `--tasks T` with questions",
        )
    model, workload = models[0], given.pop("workload")
    device, graphs = given.pop("device", None), given.pop("cuda_graphs", False)
    return api.plan(
        load_engine(
            model,
            dtype=given.get("dtype", DTYPES[0]),
            threads=given.get("threads"),
            device=device,
            cuda_graphs=graphs,
            progress=say,
        )
        if device or graphs
        else model,
        workload,
        journal=out.with_name(out.name + ENDING),
        progress=say,
        **given,
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(guarded(plan))
