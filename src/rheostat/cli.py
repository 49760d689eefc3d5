"""The command `rheostat`: profile, plan, run, report, generate, methods, bench, demo."""
# ruff: noqa: PLR0913  # a command takes its options one by one

from __future__ import annotations

import io
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

import rheostat
from rheostat import api, catalog, cli_chat, cli_check, cli_heat, cli_lists, cli_plan, cli_solve
from rheostat import cli_console as console
from rheostat import cli_options as options
from rheostat import cli_tables as tables
from rheostat.api_session import Session
from rheostat.cli_console import guarded
from rheostat.engines.base import Sampling
from rheostat.engines.licences import accept_licence
from rheostat.engines.load import DTYPES, load_engine, torch_extra
from rheostat.errors import PlanError, WorkloadError
from rheostat.kernel.plan import Plan
from rheostat.stages.profile_files import write_profile
from rheostat.stages.run import run as run_requests
from rheostat.stages.settings import (
    BASE,
    changed,
    parse_changes,
    plan_of,
    read_plan,
    ready,
    with_choice,
)
from rheostat.stages.shadow import watch
from rheostat.workloads.compiled_constraint import checked
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from pathlib import Path

    from rheostat.engines.base import Engine, Request

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


@app.callback(invoke_without_command=True)
def about(
    version: options.Version = False,
    licence: options.AcceptLicence = None,
) -> None:
    """Spend a language model's computation where it changes the answer."""
    if version:
        console.write(f"rheostat {rheostat.__version__}\n")
        raise typer.Exit
    if licence is not None:
        _accept(licence)


@guarded
def _accept(licence: str) -> None:
    console.note(f"accepted: {accept_licence(licence)}")


@app.command()
@guarded
def profile(
    model: options.Model,
    out: options.OutFile,
    workload: options.SomeWorkload = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    device: options.Device = None,
    cuda_graphs: options.CudaGraphs = False,
    seed: options.Seed = 0,
    acceptance: options.Acceptance = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure this machine and a model: costs, redundancy, entropy, copy rate."""
    console.writable(out)
    if workload is not None:
        load_workload(workload, part="calibration", limit=1)  # fails before minutes of measuring
    with console.progress() as say:
        engine = load_engine(
            model,
            dtype=dtype or DTYPES[0],
            threads=threads,
            device=device,
            cuda_graphs=cuda_graphs,
            progress=say,
        )
        with torch_extra():
            from rheostat.stages.profile import make_profile
        made = make_profile(
            engine, workload=workload, seed=seed, acceptance=acceptance, progress=say
        )
        made["command"] = shlex.join(["rheostat", *sys.argv[1:]])
        plots = write_profile(made, out)
    if not plots:
        console.note('no plots: they need matplotlib, pip install "rheostat[plots]"')
    files = [str(path) for path in (out, *plots)]
    console.result(made | {"files": files}, tables.profile_lines(made, files), as_json=as_json)


cli_plan.add_to(app)


@app.command()
@guarded
def run(
    plan: options.PlanName,
    requests: options.Requests,
    out: options.OutFolder,
    plan_file: options.PlanFile = None,
    sets: options.Set = None,
    params: options.Param = None,
    batch: options.Batch = 1,
    label: options.Label = None,
    shadow: options.Shadow = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    device: options.Device = None,
    cuda_graphs: options.CudaGraphs = False,
    seed: options.Seed = 0,
    max_new_tokens: options.MaxNewTokens = 128,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    stop: options.Stop = None,
    constraint: options.Constraint = None,
    particles: options.Particles = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Answer a file of requests under a plan; the same command resumes after a stop."""
    settled = Sampling(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=tuple(stop or ()),
        constraint=None if constraint is None else checked(constraint),
        particles=particles,
    )
    changes, named = parse_changes(sets or [], params or []), plan_of(plan, dtype=dtype)
    chosen = changed(_other_plan(plan, plan_file) if plan_file else named, changes)
    with console.progress() as say:
        load = partial(load_engine, named.model, dtype=dtype or chosen.dtype, threads=threads)
        engine = load(device=device, cuda_graphs=cuda_graphs, progress=say)
        chosen = with_choice(chosen, settled, named=changes.dials)
        chosen = ready(chosen, engine, notice=console.note)
        if shadow is not None:
            console.note(watch(chosen, shadow, settled).expectation())
        answer = partial(run_requests, chosen, requests, out, sampling=settled, engine=engine)
        summary = answer(batch=batch, label=label, shadow=shadow, progress=say)
    console.result(summary, tables.run_lines(summary), as_json=as_json)


@app.command()
@guarded
def generate(
    model: options.Model,
    prompt: options.SomePrompt = None,
    plan_file: options.PlanFile = None,
    sets: options.Set = None,
    params: options.Param = None,
    raw: options.Raw = False,
    chat: options.Chat = False,
    heat: options.Heat = False,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    device: options.Device = None,
    cuda_graphs: options.CudaGraphs = False,
    seed: options.Seed = 0,
    max_new_tokens: options.MaxNewTokens = 128,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    stop: options.Stop = None,
    constraint: options.Constraint = None,
    particles: options.Particles = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Answer one prompt, shown while it is written; with --chat a conversation, line by line."""
    settled = Sampling(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=tuple(stop or ()),
        constraint=None if constraint is None else checked(constraint),
        particles=particles,
    )
    changes = parse_changes(sets or [], params or [])
    if chat:
        cli_chat.check_chat(raw=raw, constrained=constraint is not None, particles=particles)
    else:
        request = api.prompt_request(_read_stdin() if prompt == "-" else prompt or "", raw=raw)
    base = Plan(model=model, dtype=dtype or DTYPES[0])
    chosen = changed(base if plan_file is None else read_plan(plan_file), changes)
    with console.progress() as say:
        own = dtype or chosen.dtype
        load = partial(load_engine, model, dtype=own, threads=threads, device=device)
        engine = load(cuda_graphs=cuda_graphs, progress=say)
        chosen = with_choice(chosen, settled, named=changes.dials)
        chosen = ready(chosen, engine, notice=console.note)
    if heat:
        cli_heat.check_heat(engine, chat=chat, as_json=as_json, particles=particles)
    if chat:
        session = Session.under(chosen, engine, settled)
        cli_chat.talk(session, None if prompt == "-" else prompt, as_json=as_json)
        return
    _answer(engine, request, settled, chosen, heat=heat, as_json=as_json)


def _answer(
    engine: Engine, request: Request, sampling: Sampling, plan: Plan, *, heat: bool, as_json: bool
) -> None:
    """Answer one request and show it while it is written."""
    installed = catalog.installed(plan, engine.shape, engine.card.offers)
    shown: dict[str, Any] = {"on_token": None if as_json else lambda _, piece: console.write(piece)}
    if heat:
        shown = cli_heat.heated(engine, len(engine.encode(request)), console.write)
    (output,) = engine.generate([request], sampling, installed=installed, **shown)
    if not as_json:
        console.write("\n")
    if heat:
        console.note(cli_heat.legend(colours=cli_heat.has_colours()))
    console.note(tables.output_line(output))
    console.result(output.to_json(), [], as_json=as_json)


cli_check.add_to(app)
cli_solve.add_to(app)


@app.command()
@guarded
def report(
    folders: options.Folders,
    out: options.OutFile,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare folders of run, or of solve, on one page that needs no network."""
    console.writable(out)
    with console.progress() as say:
        summary = api.report(folders, out, progress=say)
    console.result(summary, tables.report_lines(summary), as_json=as_json)


cli_lists.add_to(app)


@app.command()
@guarded
def bench(
    suite: options.Suite,
    out: options.OutFolder,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Run a benchmark and write its result file."""
    with torch_extra():
        from rheostat.bench.suites import run_suite
    with console.progress() as say:
        summary = run_suite(suite, out, progress=say)
    console.result(summary, [f"wrote {out / suite}.json"], as_json=as_json)


@app.command()
@guarded
def demo(
    out: options.OutFolder,
    threads: options.Threads = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Run the main job on the embedded model: profile, plan, run and report."""
    with torch_extra():
        from rheostat.stages.demo import run_demo
    with console.progress() as say:
        summary = run_demo(out, threads=threads, progress=say)
    console.result(summary, tables.demo_lines(summary), as_json=as_json)


def _other_plan(named: str, file: Path) -> Plan:
    if not named.startswith(BASE):
        raise PlanError(
            f"`{named}` and `--plan {file}` are two plans",
            hint=f"give one of them, or `{BASE}MODEL` with `--plan`",
        )
    return read_plan(file)


def _read_stdin() -> str:
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise WorkloadError(
            "the prompt on standard input is not valid UTF-8", hint="save the text as UTF-8"
        ) from error
