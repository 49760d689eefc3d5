"""The report's tables of figures: what each run cost, what it changed, and request by request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.stages.report_files import loss_interval, number
from rheostat.stages.report_html import (
    NOTHING,
    Column,
    Group,
    Html,
    bounds,
    counted,
    figures,
    folded,
    h,
    join,
    loss_figure,
    percent,
    prose,
    si,
    table,
    times,
    whole,
)
from rheostat.stages.report_summary import identical, shared_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rheostat.engines.base import Output
    from rheostat.stages.report_data import Material
    from rheostat.stages.report_files import Run
    from rheostat.stages.report_summary import Summary

ROWS = 200
"""Longest table of requests on the page."""

MEANINGS = {
    "kept": "Prompt tokens that were not read, because an earlier request had read them; under it, "
    "the predicted seconds that reading them again would have taken.",
    "price": "Seconds predicted from this machine's measured cost tables and the counted work; "
    "deterministic. Its error is price / measured seconds - 1.",
    "FLOP, bytes": "Modelled from counted work: a multiply-add is two operations; bytes are "
    "weights and cached keys and values read.",
    "speed": "Seconds of the base / seconds of the run over the same requests, with a 95 % "
    "bootstrap interval over requests (2000 resamples). Above 1 is faster.",
    "same answers": "Requests whose tokens are all the base's, in free running.",
    "tokens before the first difference": "As a share of all tokens of the longer answers.",
    "tokens a step": "New tokens per decoding step (a forward pass after the prompt).",
    "accepted": "Draft tokens accepted, of those proposed.",
    "MLPs skipped": "Left out by decisions made while running, summed over tokens; sub-layers "
    "that a plan drops for good are not in this count.",
    "loss": "Measured when the plan was made, on items that the search did not see. "
    "`disagree`: share of the base's tokens that the plan would not choose. `nats`: excess nats "
    "per token. `score`: (base score - plan score + 1) / 2, so 0.5 is no change.",
}


def figures_tables(summaries: Sequence[Summary]) -> Html:
    """Build the two tables with a row a run, and what their columns mean."""
    meanings = [join([h("dt", name), h("dd", prose(text))]) for name, text in MEANINGS.items()]
    return join(
        [
            _cost_table(summaries),
            _change_table(summaries),
            folded("What the columns mean", h("dl", *meanings)),
        ]
    )


def _cost_table(summaries: Sequence[Summary]) -> Html:
    columns = [
        Column(title)
        for title in (
            "Run", "read", "kept", "written", "FLOP", "bytes", "price,\u00a0s", "price error",
            "seconds", "tokens/s", "speed",
        )
    ]  # fmt: skip
    groups = [
        Group("", 1),
        Group("Tokens", 3),
        Group("Modelled", 4),
        Group("Measured", 2),
        Group("Against base", 1),
    ]
    count = counted(summaries[0].requests, "request")
    rows = [_cost_row(s) for s in summaries]
    return table(f"What it cost, over {count}", columns, rows, groups=groups)


def _cost_row(summary: Summary) -> list[str]:
    cost, against = summary.cost, summary.against
    speed = _with_bounds(times(against.speed), bounds(against.speed_interval)) if against else "1"
    return [
        _named(summary.run),
        whole(cost.prompt_tokens),
        _kept(summary),
        whole(cost.new_tokens),
        si(cost.flops, "FLOP"),
        si(cost.bytes, "B"),
        figures(cost.price) if cost.price else NOTHING,
        percent(summary.price_error, signed=True),
        figures(cost.seconds) if cost.seconds else NOTHING,
        figures(summary.tokens_per_second),
        speed,
    ]


def _kept(summary: Summary) -> str:
    trace = summary.trace
    if not trace.reused:
        return NOTHING
    return _with_bounds(
        whole(trace.reused), f"saves {figures(trace.saved)} s" if trace.saved else ""
    )


def _change_table(summaries: Sequence[Summary]) -> Html:
    columns = [
        Column("Run"),
        Column("same answers"),
        Column("tokens before the first difference"),
        Column("tokens a step"),
        Column("accepted"),
        Column("MLPs skipped"),
        Column("loss"),
        Column("certificate", text=True),
    ]
    return table("What it changed, and how", columns, [_change_row(s) for s in summaries])


def _change_row(summary: Summary) -> list[str]:
    against, trace, n = summary.against, summary.trace, summary.requests
    measured = summary.run.plan.measured
    exact = NOTHING
    if against:
        exact = _with_bounds(percent(against.exact / n, 0), f"{against.exact} of {n}")
    return [
        summary.run.label,
        exact,
        percent(against.identical if against else None),
        figures(summary.tokens_per_step),
        _with_bounds(percent(summary.acceptance), f"{whole(trace.accepted)} of "
                     f"{whole(trace.proposed)}" if trace.proposed else ""),
        whole(trace.mlp_skipped) if trace.mlp_skipped else NOTHING,
        loss_cell(measured, measured.get("loss_kind"), named=True),
        certificate(summary.run) if against else NOTHING,
    ]  # fmt: skip


def certificate(run: Run) -> str:
    """Say what is certified of the run's plan."""
    if run.plan.certificate is None:
        return "none: this plan is not certified"
    return "; ".join(f"{key}: {value}" for key, value in run.plan.certificate.items())


def loss_cell(data: Mapping[str, Any], kind: object, *, named: bool = False) -> Html:
    """Write a loss over its interval; `named` adds its kind."""
    value, pair = number(data, "loss"), loss_interval(data)
    shown = loss_figure(value, kind)
    if value is None:
        return join([shown])
    low, high = (loss_figure(p, kind).removesuffix(" nats") for p in pair or (None, None))
    span = f"{low} to {high}" if pair else ""
    return _with_bounds(f"{shown} {kind}" if named and kind != "nats" else shown, span)


def request_tables(material: Material) -> Html:
    """Build a folded table for each run, with a row a request."""
    base, *others = material.runs
    return join(_requests_of(run, base, material.ids) for run in others or [base])


def _requests_of(run: Run, base: Run, ids: Sequence[str]) -> Html:
    columns = [
        Column("Request"), Column("tokens, base"), Column("tokens"), Column("seconds, base"),
        Column("seconds"), Column("speed"), Column("same tokens", text=True),
        Column("ended by", text=True),
    ]  # fmt: skip
    rows = [_request_row(base.outputs[i], run.outputs[i]) for i in ids[:ROWS]]
    name = f"{run.label}: {counted(len(ids), 'request')}"
    more = f"The first {ROWS} of {len(ids)}; outputs.jsonl has them all."
    left_out = [h("p", more)] if len(ids) > ROWS else []
    return folded(name, table(name, columns, rows), *left_out)


def _request_row(base: Output, own: Output) -> list[str]:
    seconds, before = own.cost.seconds, base.cost.seconds
    shared = shared_tokens(base, own)
    return [
        own.id,
        whole(len(base.token_ids)),
        whole(len(own.token_ids)),
        figures(before) if before else NOTHING,
        figures(seconds) if seconds else NOTHING,
        times(before / seconds) if seconds and before else NOTHING,
        "all" if identical(base, own) else f"differs after {counted(shared, 'token')}",
        own.stop_reason,
    ]


def _named(run: Run) -> Html:
    used = " + ".join(f"{s.name} {s.dial:.3g}" for s in run.plan.methods) or "no methods"
    return join([run.label, h("span", used, class_="under")])


def _with_bounds(value: str, span: str) -> Html:
    return join([value, h("span", span, class_="under") if span else ""])
