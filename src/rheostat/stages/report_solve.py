"""The report of solved tasks: accuracy against tokens, why questions ended, each one's timeline."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rheostat.errors import OutputError
from rheostat.stages.intervals import mean_interval
from rheostat.stages.report_files import number
from rheostat.stages.report_html import (
    NOTHING,
    Column,
    Html,
    counted,
    figures,
    folded,
    h,
    join,
    percent,
    table,
    whole,
)
from rheostat.stages.report_sections import picture
from rheostat.stages.report_style import CSS, POLICY
from rheostat.stages.solve_history import is_solved, read_history, same_questions
from rheostat.stages.write_page import write_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rheostat.stages.plots import Plot
    from rheostat.stages.solve_history import History

MOST_TIMELINES = 4


def are_solved(folders: Sequence[Path]) -> bool:
    """Return whether the folders are of `solve`; raise `OutputError` when only some of them are."""
    solved = [is_solved(folder) for folder in folders]
    if any(solved) and not all(solved):
        other = folders[solved.index(False)]
        raise OutputError(
            f"`{other}` is no finished run of `solve`, as `{folders[solved.index(True)]}` is",
            hint="report on folders of `solve` and of `run` apart from each other",
        )
    return bool(solved) and all(solved)


def write_solve_report(
    folders: Sequence[Path], out: Path, *, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Write the page and its plots; return the summary as JSON data."""
    from rheostat.stages import plots_solve  # imports matplotlib

    if progress is not None:
        progress(f"reading {counted(len(folders), 'folder')}")
    histories = [read_history(folder) for folder in folders]
    same_questions(histories)
    drawn: list[Plot] = []
    if all(history.correct for history in histories):
        drawn.append(plots_solve.accuracy(histories))
    shown = histories[:MOST_TIMELINES]
    drawn += [plots_solve.timeline(one, f"timeline-{at}") for at, one in enumerate(shown, 1)]
    headlines = [_headline(history) for history in histories]
    command = shlex.join(["rheostat", "report", *map(str, folders), "--out", str(out)])
    files = write_page(out, _page(histories, drawn, headlines, command), drawn)
    return {
        "report": str(out),
        "plots": [str(file) for file in files],
        "headline": headlines[0],
        "headlines": headlines,
        "questions": len(histories[0].answers),
        "runs": [_run(history) for history in histories],
    }


def _run(history: History) -> dict[str, Any]:
    right = history.correct
    return {
        "label": history.label,
        "rule": history.rule,
        "right": sum(right) / len(right) if right else None,
        "right_interval": list(mean_interval(right)) if right else None,
        **{key: history.summary[key] for key in ("settled", "samples", "stop_reasons", "cost")},
        "all_samples_tokens": history.summary.get("all_samples_tokens"),
    }


def _headline(history: History) -> str:
    run, cost = _run(history), history.summary["cost"]
    tokens = cost["prompt_tokens"] + cost["new_tokens"]
    right = "" if run["right"] is None else f", {percent(run['right'])} right"
    every = run["all_samples_tokens"]
    saved = f", {tokens / every:.2f} of what all samples would have taken" if every else ""
    return (
        f"{history.label}: {run['settled']} of {counted(len(history.answers), 'question')} "
        f"settled{right}, {whole(tokens)} tokens{saved}"
    )


def _page(
    histories: Sequence[History], drawn: Sequence[Plot], headlines: Sequence[str], command: str
) -> str:
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", http_equiv="Content-Security-Policy", content=POLICY),
        h("title", f"Rheostat report: {headlines[0]}"),
        h("style", Html(CSS)),
    )
    first, *others = headlines
    top = join(
        [
            h("p", f"Rheostat report · {histories[0].header['model']}", class_="kicker"),
            h("h1", first),
            h("ul", *(h("li", one) for one in others)) if others else "",
        ]
    )
    sections = [
        ("Figures", join([_figures(histories), _reasons(histories)])),
        ("Over the run", join(picture(plot) for plot in drawn)),
        ("Question by question", join(_questions(history) for history in histories)),
        ("How to repeat it", _repeat(histories, command)),
    ]
    main = h("main", *(h("section", h("h2", title), body) for title, body in sections))
    return f"<!doctype html>\n{h('html', head, h('body', h('header', top), main), lang='en')}\n"


def _figures(histories: Sequence[History]) -> Html:
    columns = [Column("run", text=True), Column("rule", text=True)]
    columns += map(Column, ("right", "95 % interval", "settled", "samples", "tokens", "seconds"))
    rows = []
    for history in histories:
        run, cost = _run(history), history.summary["cost"]
        interval = run["right_interval"]
        rows.append(
            (
                history.label,
                history.rule,
                percent(run["right"]),
                f"{percent(interval[0])} to {percent(interval[1])}" if interval else NOTHING,
                whole(run["settled"]),
                whole(run["samples"]),
                whole(cost["prompt_tokens"] + cost["new_tokens"]),
                figures(number(cost, "seconds")),
            )
        )
    return table("What each run answered and took", columns, rows)


def _reasons(histories: Sequence[History]) -> Html:
    columns = [Column("run", text=True), Column("ended by", text=True)]
    columns += map(Column, ("questions", "settled", "right", "samples", "tokens"))
    rows = [
        (history.label, row["reason"], *(whole(row[name]) for name in _COUNTS))
        for history in histories
        for row in history.summary["reasons"]
    ]
    return table("Why questions ended", columns, rows)


_COUNTS = ("questions", "settled", "right", "samples", "tokens")


def _questions(history: History) -> Html:
    columns = [Column("question", text=True), Column("answer", text=True)]
    columns += [Column("right", text=True), Column("ended by", text=True)]
    columns += map(Column, ("samples", "tokens"))
    rows = [
        (
            str(answer["id"]),
            NOTHING if answer["answer"] is None else str(answer["answer"]),
            {True: "yes", False: "no", None: NOTHING}[answer["correct"]],
            str(answer["stop_reason"]),
            whole(answer["samples"]),
            whole(answer["cost"]["prompt_tokens"] + answer["cost"]["new_tokens"]),
        )
        for answer in history.answers
    ]
    return folded(history.label, table(f"Answers of {history.label}", columns, rows))


def _repeat(histories: Sequence[History], command: str) -> Html:
    commands = [str(history.header.get("command") or "") for history in histories]
    lines = [h("li", h("code", line)) for line in (*filter(None, commands), command)]
    return h("ul", *lines)


def figures_of(run: Mapping[str, Any]) -> str:
    """Return a run's figures as a line."""
    interval = run["right_interval"]
    right = "" if run["right"] is None else f", {run['right']:.3f} right"
    between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    tokens = run["cost"]["prompt_tokens"] + run["cost"]["new_tokens"]
    return (
        f"{run['label']}, {run['rule']}: {counted(run['samples'], 'sample')}, "
        f"{counted(tokens, 'token')}{right}{between}"
    )
