"""The commands `methods` and `cite`: what the catalogue holds, and the papers behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat import api
from rheostat import cli_console as console
from rheostat import cli_options as options
from rheostat import cli_tables as tables
from rheostat.cli_console import guarded
from rheostat.stages.citations import cited

if TYPE_CHECKING:
    import typer


def methods(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """List the methods: what each decides, whether it is exact, whether it is proven."""
    console.result({"methods": api.list_methods()}, [tables.methods_table()], as_json=as_json)


def cite(
    named: options.Cited = None, as_json: options.Json = False, debug: options.Debug = False
) -> None:
    """Print BibTeX of the papers behind a plan or methods; of all methods without a name."""
    found = cited(named or [])
    if found.without:
        console.note(f"no paper to cite: {', '.join(found.without)}")
    if not (found.entries or found.without):
        console.note("the plan has no methods: there is nothing to cite")
    data = {"entries": list(found.entries), "without": list(found.without)}
    console.result(data, ["\n\n".join(found.entries)] if found.entries else [], as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (methods, cite):
        app.command()(guarded(command))
