"""Results of commands as lines and tables for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rheostat import catalog
from rheostat.cli_console import counted as _counted
from rheostat.stages.intervals import FEW
from rheostat.stages.report_solve import figures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.engines.base import Output
    from rheostat.kernel.plan import Plan

MOST_POINTS = 24
"""Points of a frontier that are shown; the plan's file holds all of them."""


def profile_lines(profile: Mapping[str, Any], files: Sequence[str]) -> list[str | Table]:
    """Show what a profile found, and where it is."""
    ranking = profile["redundancy"].get("ranking")
    droppable = (
        f"most droppable attentions: {_first(ranking['attention'])}; MLPs: {_first(ranking['mlp'])}"
        if ranking
        else "the layers of this model cannot be taken apart: none of their parts is ranked"
    )
    copied = ", ".join(f"{name} {rate:.2f}" for name, rate in profile["copy_rate"].items())
    curve = profile["cost"]["curves"][0]
    costs = zip(curve["tokens"], curve["seconds"], strict=True)
    law = profile["cost"]["prefill_equivalents"]
    relative = ", ".join(f"{n}: {s / curve['seconds'][0]:.2f}" for n, s in costs if n in {2, 8, 32})
    return [
        f"{profile['model']} in {profile['dtype']} with "
        f"{_counted(profile['threads'], 'thread')} on {profile['machine']['name']}",
        f"a pass over one token after {curve['context']}: {1e3 * curve['seconds'][0]:.1f} ms; "
        f"over n tokens, relative to that: {relative}",
        f"writing a token costs as much as reading {law['step']:.1f}, and "
        f"{1000 * law['context']:.1f} more for 1000 tokens of context",
        droppable,
        f"entropy of the next token: {profile['entropy']['mean']:.2f} nats; copied: {copied}",
        f"wrote {', '.join(files)}",
    ]


def plan_lines(plan: Plan, out: str) -> list[str | Table]:
    """Show the frontier, the choice, the reasons, and what was measured on held-out items."""
    points = sorted(plan.predicted.get("frontier", []), key=lambda point: point["price_ratio"])
    shown = points[:MOST_POINTS]
    shown += [point for point in points[MOST_POINTS:] if point["kept"]]
    frontier = _table("", "price", "loss", "95 % interval", "methods")
    for point in shown:
        frontier.add_row(
            *_point(point),
            _methods(point["methods"]),
        )
    left_out = len(points) - len(shown)
    more = [f"{left_out} dearer settings are in the plan's file"] if left_out else []
    return [
        *([frontier] if shown else []),
        *more,
        *plan.why,
        *_measured(plan),
        *([plan.certificate["claim"]] if plan.certificate else []),
        f"wrote {out}: {_methods([setting.to_json() for setting in plan.methods])}",
    ]


def _point(point: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return whether a frontier's point was kept, its price, its loss and the loss's interval."""
    low, high = point["loss_interval"]
    return (
        "->" if point["kept"] else "",
        f"{point['price_ratio']:.3f}",
        f"{point['loss']:.4f}",
        f"{low:.4f} to {high:.4f}" if point.get("items", FEW) >= FEW else "too few items",
    )


def sample_plan_lines(plan: Plan, out: str) -> list[str | Table]:
    """Show what a plan of samples was chosen from, why, and what it came to on other questions."""
    predicted, measured = plan.predicted, plan.measured
    right = [] if measured["accuracy"] is None else ["right"]
    frontier = _table("", "price", "loss", "95 % interval", *right, "setting")
    for point in predicted["frontier"]:
        frontier.add_row(
            *_point(point),
            *(f"{point['accuracy']:.3f}" for _ in right),
            point["setting"],
        )
    (own,) = (point["setting"] for point in predicted["frontier"] if point["kept"])
    return [
        frontier,
        *plan.why,
        *_shown_of_samples(measured),
        *([plan.certificate["claim"]] if plan.certificate else []),
        f"wrote {out}: {own}",
        f"solve with it: rheostat solve {shlex.quote(plan.model)} --tasks TASKS --plan "
        f"{shlex.quote(out)} --out DIR",
    ]


def _shown_of_samples(measured: Mapping[str, Any]) -> list[str]:
    right = ""
    if measured["accuracy"] is not None:
        least, most = measured["accuracy_interval"]
        right = (
            f"right on {measured['accuracy']:.3f} ({least:.3f} to {most:.3f}), the base on "
            f"{measured['base_accuracy']:.3f}; "
        )
    units = {"seconds": "predicted seconds", "tokens": "tokens"}
    costs = " and ".join(
        f"{ratio:.2f} ({least:.2f} to {most:.2f}) of the base's {units[unit]}"
        for unit, (ratio, least, most) in sorted(measured["costs"].items())
    )
    return [
        f"on {_counted(measured['loss_items'], 'held-out question')}: {_loss(measured)}; {right}"
        f"{measured['samples_per_question']:.1f} samples a question, {costs}"
    ]


def check_lines(summary: Mapping[str, Any]) -> list[str | Table]:
    """Show the verdict on a certificate and what it rests on."""
    low, high = summary["interval"]
    return [
        f"{summary['verdict']}: the mean {summary['loss']} is {low:.4f} to {high:.4f} with "
        f"confidence {summary['confidence']:g}, the certificate says at most {summary['limit']:g}",
        f"{summary['items']} items of {', '.join(summary['workloads'])}, {summary['new_items']} of "
        f"them new; their mean is {summary['mean']:.4f}",
        f"kept in {summary['state']}: the next check goes on from here",
    ]


def run_lines(summary: Mapping[str, Any]) -> list[str | Table]:
    """Show what a run answered and what it cost."""
    cost = summary["cost"]
    resumed = f" ({summary['resumed']} of them before)" if summary["resumed"] else ""
    reasons = ", ".join(f"{count} {name}" for name, count in summary["stop_reasons"].items())
    return [
        f"{summary['model']} in {summary['dtype']}, {_methods(summary['methods'])}",
        f"{_counted(summary['requests'], 'request')} answered{resumed}: {reasons}",
        _cost(cost),
        *([_shared(summary["shared"])] if "shared" in summary else []),
        *([_shadow(summary["shadow"])] if "shadow" in summary else []),
        f"wrote {summary['out']}/outputs.jsonl and trace.jsonl",
    ]


def _shared(shared: Mapping[str, Any]) -> str:
    """Show what the requests begin with alike, and what reading it once saved."""
    alike = f"all prompts begin with the same {shared['tokens']} tokens"
    if not shared["reused"]:
        return f"{alike}, which this plan reads for each"
    return (
        f"{alike}: {shared['reused']} requests did not read them again, "
        f"which would have taken {shared['saved']['price']:.2f} s"
    )


def output_line(output: Output) -> str:
    """Show why an answer ended and what it cost."""
    line = f"ended by {output.stop_reason}; {_cost(output.cost.to_json())}"
    if calls := output.trace.constraint_calls:
        line += f"; constraint asked {calls} times"
    if (drawn := output.population) is not None:
        line += (
            f"; the model's own answer is valid with probability {drawn.probability:.3g} "
            f"({len(drawn.particles)} particles, worth {drawn.effective:.1f})"
        )
    return line


def solve_lines(summary: Mapping[str, Any]) -> list[str | Table]:
    """Show why questions ended, what was right, and what was saved."""
    shown = _table("ended by", "questions", "settled", "right", "samples", "tokens")
    for row in summary["reasons"]:
        known = summary["right"] is not None
        right = f"{row['right']}" if known else ""
        numbers = (row["questions"], row["settled"], right, row["samples"], row["tokens"])
        shown.add_row(row["reason"], *map(str, numbers))
    cost, whole = summary["cost"], summary["all_samples_tokens"]
    spent = cost["prompt_tokens"] + cost["new_tokens"]
    lines: list[str | Table] = [
        f"{summary['model']}: {summary['answered']} of {summary['questions']} questions answered, "
        f"{summary['settled']} of them settled"
        + ("" if summary["right"] is None else f", {summary['right']} right"),
        shown,
        _cost(cost) + (f", {cost['usd']:.4f} USD" if cost["usd"] else ""),
    ]
    if whole:
        lines.append(
            f"{spent} tokens, {spent / whole:.2f} of the {whole} that all samples of every "
            "question would have taken by the lengths seen"
        )
    for count, what in (
        (summary["no_answer"], "samples gave no answer: they had no vote"),
        (summary["failed"], "samples failed"),
        (summary["resumed"], "samples were there before and drawn only once"),
    ):
        lines += [f"{count} {what}"] if count else []
    if summary["overrun"]:
        lines.append(f"an account was closed: {summary['overrun']}")
    lines += summary.get("notices", ())
    return [*lines, f"wrote {summary['out']}/answers.jsonl and solve.json"]


def methods_table() -> Table:
    """Show every method: its seam, exactness, status, paper and title."""
    listed = _table("name", "seam", "exactness", "status", "paper", "title")
    titles = {name: method.card.title for name, method in catalog.methods().items()}
    for record in catalog.listing():
        columns = ("name", "seam", "exactness", "status", "paper")
        listed.add_row(*(str(record[column]) for column in columns), titles[record["name"]])
    return listed


def report_lines(summary: Mapping[str, Any]) -> list[str | Table]:
    """Show the runs side by side with their three costs, and where the page is."""
    if "questions" in summary:
        lines = [figures_of(run).replace("\u202f", " ") for run in summary["runs"]]
        heads = [line.replace("\u202f", " ") for line in summary["headlines"]]
        return [*heads, *lines, f"wrote {summary['report']}"]
    compared = _table(
        "run", "new tokens", "GFLOP", "GB", "price s", "seconds", "speed", "same answers", "methods"
    )
    for one in summary["runs"]:
        cost, speed, same = one["cost"], one["speed_ratio"], one["exact_match"]
        counts = (cost["flops"] / 1e9, 1), (cost["bytes"] / 1e9, 1), (cost["price"], 2)
        low, high = one["speed_interval"] or (None, None)
        between = "" if low is None else f" ({low:.2f} to {high:.2f})"
        compared.add_row(
            one["label"],
            str(cost["new_tokens"]),
            *(f"{n:.{places}f}" if n else "\u2013" for n, places in counts),
            f"{cost['seconds']:.2f}",
            "" if speed is None else f"{speed:.2f}{between}",
            "" if same is None else f"{100 * same:.0f} %",
            _methods(one["methods"]),
        )
    return [compared, *summary["headlines"], *summary["notices"], f"wrote {summary['report']}"]


def demo_lines(summary: Mapping[str, Any]) -> list[str | Table]:
    """Show what a report shows, and the seconds of each stage."""
    stages = ", ".join(f"{name} {took:.0f}" for name, took in summary["stage_seconds"].items())
    return [*report_lines(summary), f"seconds: {stages}"]


def _measured(plan: Plan) -> list[str]:
    measured = plan.measured
    if not measured:
        return []
    items = min(measured["loss_items"], measured["items"])
    few = (
        f"only {_counted(items, 'item')}: take what was measured as rough, and give more texts or "
        "a larger `--items` to know better"
    )
    return [
        f"on {_counted(measured['loss_items'], 'held-out item')}: {_loss(measured)}; "
        f"{100 * measured['exact_match']:.0f} % of the answers to "
        f"{_counted(measured['items'], 'item')} are the same, "
        f"price {measured['price_ratio']:.3f} and seconds {measured['seconds_ratio']:.3f} of the "
        "base's",
        *([few] if items < FEW else []),
        *_spent(measured),
    ]


def _loss(measured: Mapping[str, Any]) -> str:
    """Show what was lost, and between what bounds where there are enough items to say so."""
    low, high = measured["loss_interval"]
    enough = measured["loss_items"] >= FEW
    between = f"95 % interval {low:.4f} to {high:.4f}" if enough else "no interval: too few"
    return f"loss ({measured['loss_kind']}) {measured['loss']:.4f} ({between})"


def _spent(measured: Mapping[str, Any]) -> list[str]:
    """Show what measuring took, and what share of it the certificate."""
    spent = measured.get("spent")
    if not spent:  # a plan of an earlier version
        return []
    took = f"the search measured for {spent['search']:.1f} s"
    if "certification" in spent:
        share = spent["certification"] / spent["search"] if spent["search"] else 0.0
        took += f", the certification for {spent['certification']:.1f} s ({share:.1%} of it)"
    return [took]


def _shadow(seen: Mapping[str, Any]) -> str:
    low, high = seen["interval"]
    delay = seen["expected_delay"]
    end = (
        "the certificate is refuted, the rest was answered by the base"
        if seen["refuted"]
        else "twice the certified loss would be refuted "
        + ("not within 100,000 requests" if delay is None else f"after about {delay} requests")
    )
    return (
        f"the base answered {seen['requests']} of them too ({seen['cost']['price']:.2f} s of the "
        f"price): the mean loss is {low:.4f} to {high:.4f}, certified at {seen['limit']:g}; {end}"
    )


def _cost(cost: Mapping[str, Any]) -> str:
    seconds = cost["seconds"]
    speed = f" ({cost['new_tokens'] / seconds:.1f} new tokens/s)" if seconds else ""
    calls = _counted(cost["calls"], "call")
    if cost["flops"] or cost["bytes"]:
        calls = (
            f"{cost['flops'] / 1e9:.2f} GFLOP and {cost['bytes'] / 1e9:.2f} GB in "
            f"{_counted(cost['calls'], 'pass')}"
        )
    price = f"price {cost['price']:.2f} s, "
    return (  # what an engine does not count is left out: it is not nothing
        f"{cost['prompt_tokens']} prompt and {_counted(cost['new_tokens'], 'new token')}, "
        f"{calls}, {price if cost['price'] else ''}measured {seconds:.2f} s{speed}"
    )


def _methods(settings: Sequence[Mapping[str, Any]]) -> str:
    return " + ".join(map(_method, settings)) or "base (no methods)"


def _method(setting: Mapping[str, Any]) -> str:
    params = ", ".join(f"{name}={value}" for name, value in setting.get("params", {}).items())
    return f"{setting['name']}={setting['dial']:g}" + (f" ({params})" if params else "")


def _first(indices: Sequence[int]) -> str:
    return ", ".join(str(index) for index in indices[:5])


def _table(*columns: str) -> Table:
    """Return an empty table without lines around its cells."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, column in enumerate(columns):
        made.add_column(column, no_wrap=at < len(columns) - 1)
    return made
