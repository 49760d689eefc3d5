"""Pages of the site that are made from the program itself: methods from cards, options from typer.

A hook of mkdocs: nothing that it makes is kept in the repository, so nothing of it grows stale.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main
from mkdocs.structure.files import File

from rheostat import catalog
from rheostat.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

    from rheostat.kernel.method import Card, Method

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "https://github.com/rheostat-dev/rheostat/blob/main/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links that leave the documents lead to the repository."""
    return re.sub(
        r"\]\((?:\.\./)+((?:benchmarks|src|tests|examples)/[^)]*)\)", rf"]({SOURCE}\1)", markdown
    )


def pages() -> dict[str, str]:
    """Return every page by its path."""
    made = {f"methods/{name}.md": method_page(name) for name in catalog.methods()}
    return made | {"methods/index.md": methods_page(), "commands.md": commands_page()}


def methods_page() -> str:
    """Return the list of all methods."""
    rows = [
        f"| [`{r['name']}`]({r['name']}.md) | `{r['seam']}` | {r['exactness']} | {r['status']} | "
        f"{catalog.method(r['name']).card.title} |"
        for r in catalog.listing()
    ]
    head = "| name | seam | exactness | status | what it does |\n|---|---|---|---|---|\n"
    return (
        "# Methods\n\nA method is *proven* when committed results say that it beat its controls: "
        "the status is computed from result files, never claimed.\n\n"
        + head
        + "\n".join(rows)
        + "\n"
    )


def method_page(name: str) -> str:
    """Return the page of a method: paper, what is ours, parameters, results, status."""
    method = catalog.method(name)
    card, module = method.card, inspect.getmodule(method)
    parts = [
        f"# `{name}`\n\n{card.title[0].upper()}{card.title[1:]}.\n",
        f"Seam `{card.seam}`, {card.exactness}, **{catalog.status(name)}**. {_paper(card)}\n",
        f"## What is the paper's and what is ours\n\n{inspect.cleandoc(module.__doc__ or '')}\n",
        f"## Parameters\n\n{_parameters(method)}\n",
        f"## Measured\n\n{_measured(name)}\n",
    ]
    path = Path(str(module.__file__)).resolve().relative_to(ROOT)
    return "\n".join([*parts, f"Source: [`{path}`]({SOURCE}{path})\n"])


def commands_page() -> str:
    """Return every command with its arguments and options."""
    group = typer.main.get_command(app)
    parts = ["# Command line\n"]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        parts.append(f"## `rheostat {name}`\n\n{inspect.cleandoc(command.help or '')}\n")
        parts.append(
            "| option | what it is | default |\n|---|---|---|\n" + "\n".join(_options(command))
        )
        parts.append("")
    return "\n".join(parts)


def _options(command: Any) -> Iterable[str]:
    for option in command.params:
        names = ", ".join(option.opts) if option.param_type_name == "option" else option.metavar
        default = "" if option.default in (None, False, ()) or option.required else option.default
        text = (option.help or "").replace("|", "\\|")
        yield f"| `{str(names).replace('|', chr(92) + '|')}` | {text} | {default} |"


def _paper(card: Card) -> str:
    if not card.paper.startswith("arXiv:"):
        return "A control of ours." if card.control else "No paper."
    number = card.paper.removeprefix("arXiv:")
    by = f" *{card.paper_title}*, {card.authors}." if card.paper_title else ""
    return f"Paper: [{card.paper}](https://arxiv.org/abs/{number}).{by}"


def _parameters(method: type[Method]) -> str:
    known = fields(method)  # type: ignore[arg-type]  # always a dataclass
    if not known:
        return "None beside the dial."
    told = re.findall(
        r'^    (\w+): [^\n]*\n    """(.*?)"""', inspect.getsource(method), re.M | re.S
    )
    says = {name: " ".join(text.split()) for name, text in told}
    rows = [f"| `{f.name}` | {says.get(f.name, '')} | `{f.default}` |" for f in known]
    return "| name | what it is | default |\n|---|---|---|\n" + "\n".join(rows)


def _measured(name: str) -> str:
    lines = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data.get("verdicts", {}).get(name) if isinstance(data, dict) else None
        if found is not None:
            beat = "beats its controls" if found["beats_controls"] else "does not beat its controls"
            evidence = f": {found['evidence']}" if found.get("evidence") else ""
            lines.append(f"- `benchmarks/results/{path.name}`: {beat}{evidence}")
    return "\n".join(lines) or "No result file judges it yet."
