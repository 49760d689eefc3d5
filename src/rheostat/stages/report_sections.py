"""The report's sections beside its tables of figures: plan, answers, profile, how to repeat it."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

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
    loss_figure,
    percent,
    prose,
    scrolling,
    table,
)
from rheostat.stages.report_summary import identical
from rheostat.stages.report_tables import loss_cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.engines.base import Output
    from rheostat.stages.plots import Plot
    from rheostat.stages.report_data import Material
    from rheostat.stages.report_files import Run

SHOWN_TEXTS = 3
LONGEST_TEXT = 1500
BEFORE_DIFFERENCE = 400
"""Characters shown before a first difference that lies far into a text."""

MACHINE = {
    "name": "machine", "cpu": "processor", "cores": "cores", "memory_gib": "memory, GiB",
    "os": "system", "python": "Python", "torch": "PyTorch", "rheostat": "Rheostat",
}  # fmt: skip


def picture(plot: Plot) -> Html:
    """Embed a plot on a white card, with its alternative text and caption."""
    source = "data:image/png;base64," + base64.b64encode(plot.png).decode("ascii")
    image = h("img", src=source, alt=plot.alt, width="900")
    return h("figure", scrolling(plot.caption, image), h("figcaption", plot.caption))


def plan_section(run: Run, plot: Plot | None) -> Html:
    """Say why the plan was chosen, what it sets, what was predicted and then measured."""
    plan = run.plan
    why = h("ul", *(h("li", prose(sentence)) for sentence in plan.why)) if plan.why else ""
    if not plan.methods:
        nothing = "No dial was worth turning: the plan has no methods and is the base itself."
        return join([h("h3", run.label), h("p", nothing), why, picture(plot) if plot else ""])
    return join(
        [
            h("h3", run.label),
            why,
            _methods(run),
            _claims(run),
            picture(plot) if plot else "",
            _tried(run) if plot else "",
        ]
    )


def _methods(run: Run) -> Html:
    columns = [Column("Method"), Column("dial"), Column("parameters", text=True)]
    rows = [
        [
            s.name,
            f"{s.dial:.3g}",
            ", ".join(f"{k} = {v}" for k, v in s.params.items()) or "defaults",
        ]
        for s in run.plan.methods
    ]
    return table("Methods of the plan (dial 0 = the base, 1 = cheapest)", columns, rows)


def _claims(run: Run) -> Html:
    predicted, measured = run.plan.predicted, run.plan.measured
    if not predicted and not measured:
        return Html("")
    ratio = number(measured, "seconds_ratio")
    rows = [
        [
            "price as a share of the base",
            percent(number(predicted, "price_ratio")),
            percent(number(measured, "price_ratio")),
        ],
        [
            f"loss ({measured.get('loss_kind') or predicted.get('loss_kind')})",
            loss_figure(number(predicted, "loss"), predicted.get("loss_kind")),
            loss_cell(measured, measured.get("loss_kind")),
        ],
        ["seconds as a share of the base", NOTHING, percent(ratio)],
        ["same answers, free running", NOTHING, percent(number(measured, "exact_match"))],
    ]
    items = number(measured, "items")
    heard = f" on {counted(int(items), 'unseen item')}" if items is not None else ""
    columns = [Column("When planning"), Column("predicted"), Column("measured" + heard)]
    return table("What the plan promised and what was found", columns, rows)


def _tried(run: Run) -> Html:
    kind = run.plan.predicted.get("loss_kind")
    columns = [Column("Setting"), Column("price"), Column("loss"), Column("kept", text=True)]
    rows = [
        [
            " + ".join(map(_named, point.get("methods", []))) or "base",
            percent(number(point, "price_ratio")),
            loss_cell(point, kind),
            "kept" if point.get("kept") else "",
        ]
        for point in run.plan.predicted["frontier"]
    ]
    title = "What no other setting beats in price and loss, and what was chosen"
    return folded(f"{title}: {counted(len(rows), 'setting')}", table(title, columns, rows))


def _named(method: Mapping[str, Any]) -> str:
    params = ", ".join(f"{name} = {value}" for name, value in method.get("params", {}).items())
    return f"{method['name']} {method['dial']:.3g}" + (f" ({params})" if params else "")


def answers_section(material: Material) -> Html:
    """Show the first few answers, and the first that differs, with the difference marked."""
    base, *others = material.runs
    differs = (
        i
        for i in material.ids
        if not all(identical(base.outputs[i], run.outputs[i]) for run in others)
    )
    shown = dict.fromkeys([*material.ids[:SHOWN_TEXTS], *list(differs)[:1]])
    return join(_answers(material.runs, i) for i in shown)


def _answers(runs: Sequence[Run], request: str) -> Html:
    base = runs[0].outputs[request]
    other = runs[1].outputs[request].text if len(runs) == 2 else base.text
    cards = [_card(runs[0].label, base.text, first_difference(other, base.text), "")]
    cards += [_answer(run, base) for run in runs[1:]]
    return join([h("h3", f"Request {request}"), h("div", *cards, class_="texts")])


def _answer(run: Run, base: Output) -> Html:
    own = run.outputs[base.id]
    if identical(base, own):
        return _card(run.label, own.text, None, h("span", "identical", class_="same"))
    at = first_difference(base.text, own.text)
    note = h("span", "differs" if at is not None else "same text, other tokens", class_="soft")
    return _card(run.label, own.text, at, note)


def first_difference(base: str, own: str) -> int | None:
    """Return where the word starts that differs first; None when the texts are equal."""
    if base == own:
        return None
    shorter = min(len(base), len(own))
    at = next((i for i in range(shorter) if base[i] != own[i]), shorter)
    goes_on = (base[at : at + 1] + own[at : at + 1]).strip()
    while goes_on and at > 0 and not own[at - 1].isspace():
        at -= 1
    return at


def _card(label: str, text: str, at: int | None, note: str) -> Html:
    head = h("h4", label, " ", h("span", " · ", class_="soft") if note else "", note)
    return h("div", head, h("p", _marked(text, at), dir="auto"), class_="answer")


def _marked(text: str, at: int | None) -> Html:
    start = max(0, at - BEFORE_DIFFERENCE) if at is not None and at > LONGEST_TEXT else 0
    shown, cut = text[start : start + LONGEST_TEXT], len(text) > start + LONGEST_TEXT
    pieces: list[str] = [shown]
    if at is not None:
        word = re.match(r"\s*\S+", shown[at - start :])
        end = at - start + (word.end() if word else 0)
        marked = shown[at - start : end] or "(ends here)"
        mark = h("mark", marked, title="first difference")
        pieces = [shown[: at - start], mark, shown[end:]]
    if not text:
        pieces.append(h("span", "(empty)", class_="soft"))
    return join(["… " if start else "", *pieces, " …" if cut else ""])


def profile_section(profile: Mapping[str, Any], plots: Sequence[Plot]) -> Html:
    """Show what was measured of the machine and the model before planning."""
    rows = []
    entropy = profile.get("entropy") or {}
    if entropy:
        rows += [
            [f"entropy of the next token, {name}", f"{figures(number(entropy, key))} nats"]
            for key, name in (("mean", "mean"), ("median", "median"), ("p90", "90th percentile"))
        ]
    rows += [
        [f"copy rate, {workload}", percent(rate)]
        for workload, rate in (profile.get("copy_rate") or {}).items()
    ]
    redundancy = profile.get("redundancy") or {}
    if "base_loss" in redundancy:
        rows.append(["loss of the whole model", f"{figures(redundancy['base_loss'])} nats a token"])
    if not rows:
        return join(picture(p) for p in plots)
    heads = [Column("What is there to save"), Column("measured")]
    hint = "Low entropy: the model is mostly sure. Copy rate: tokens that a look-up would guess."
    return join([table("The model on its workloads", heads, rows), h("p", hint, class_="soft"),
                 *(picture(p) for p in plots)])  # fmt: skip


def reproduce_section(material: Material, command: str) -> Html:
    """List the commands that led here, the machine, and the versions."""
    commands = [run.command for run in material.runs if run.command]
    if material.profile and material.profile.get("command"):
        commands.insert(0, str(material.profile["command"]))
    lines = "\n".join([*dict.fromkeys(commands), command])
    columns = [Column("Fact"), *(Column(run.label, text=True) for run in material.runs)]
    facts: list[list[str]] = [["model", *(r.plan.model for r in material.runs)]]
    facts.append(["number format", *(r.plan.dtype for r in material.runs)])
    keys = dict.fromkeys([*MACHINE, *(k for r in material.runs for k in r.machine)])
    for key in keys:
        values = [str(r.machine.get(key, NOTHING)) for r in material.runs]
        if any(v != NOTHING for v in values):
            facts.append([MACHINE.get(key, key), *values])
    facts.append(["sampling", *(json.dumps(r.sampling)[1:-1] for r in material.runs)])
    facts.append(["requests", *(str(r.requests.get("path", NOTHING)) for r in material.runs)])
    facts.append(["their digest", *(str(r.requests.get("digest")) for r in material.runs)])
    return join([h("p", "These commands, in this order:"), h("pre", h("code", lines)),
                 table("Machine and versions", columns, facts)])  # fmt: skip
