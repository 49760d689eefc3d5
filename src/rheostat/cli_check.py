"""The command `check`: a certificate against texts that the plan was not made from."""
# ruff: noqa: PLR0913  # a command takes its options one by one

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rheostat import api_check, cli_tables
from rheostat import cli_console as console
from rheostat import cli_options as options
from rheostat.cli_console import guarded
from rheostat.errors import RefutedError, UndecidedError

PlanPath = Annotated[
    Path, typer.Argument(metavar="PLAN", help="The file of a plan with a certificate.")
]
State = Annotated[
    Path | None,
    typer.Option("--state", help="Where checks are kept. [default: PLAN.checks.jsonl]"),
]
MostItems = Annotated[
    int | None, typer.Option("--items", min=1, help="Most items to measure in this check.")
]


def check(
    plan: PlanPath,
    workload: options.Workload,
    state: State = None,
    items: MostItems = None,
    threads: options.Threads = None,
    device: options.Device = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Confirm or refute a certificate; looks may be repeated, they share one sequence."""
    with console.progress() as say:
        found = api_check.check(
            plan,
            workload,
            state=state,
            items=items,
            threads=threads,
            device=device,
            seed=seed,
            progress=say,
        )
    console.result(found, cli_tables.check_lines(found), as_json=as_json)
    _end(found)


def _end(found: dict[str, Any]) -> None:
    """End with the code of the verdict."""
    low, high = found["interval"]
    if found["verdict"] == "fail":
        raise RefutedError(
            f"the certificate is refuted: the mean {found['loss']} is over {low:.4f}, and it says "
            f"at most {found['limit']:g}",
            hint="make a plan on texts like these: `rheostat plan MODEL --workload W …`",
        )
    if found["verdict"] == "undecided":
        more = f"about {found['needed']}" if found["needed"] else "many"
        raise UndecidedError(
            f"too little data: after {found['items']} items the mean {found['loss']} is "
            f"{low:.4f} to {high:.4f}, on both sides of {found['limit']:g}",
            hint=f"check {more} more items; what was measured is kept and counts",
        )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(guarded(check))
