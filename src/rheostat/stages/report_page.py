"""The report's page: one self-contained HTML file, first for 30 seconds, then for ten minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.stages.report_html import Html, h, join
from rheostat.stages.report_sections import (
    answers_section,
    picture,
    plan_section,
    profile_section,
    reproduce_section,
)
from rheostat.stages.report_style import CSS, POLICY
from rheostat.stages.report_tables import figures_tables, request_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.stages.plots import Plot
    from rheostat.stages.report_data import Material
    from rheostat.stages.report_summary import Summary


@dataclass(frozen=True, kw_only=True)
class Plots:
    """The report's plots by where they stand."""

    frontiers: Mapping[str, Plot]
    """By the run's label."""
    lengths: Plot | None
    profile: Sequence[Plot]

    def all(self) -> list[Plot]:
        """Return every plot in the page's order."""
        lengths = [self.lengths] if self.lengths else []
        return [*self.frontiers.values(), *lengths, *self.profile]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the page is made of."""

    material: Material
    summaries: Sequence[Summary]
    headlines: Sequence[str]
    plots: Plots
    command: str
    """The command that makes this report again."""


def page(content: Content) -> str:
    """Return the page."""
    sections = list(_sections(content))
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", http_equiv="Content-Security-Policy", content=POLICY),
        h("title", f"Rheostat report: {content.headlines[0]}"),
        h("style", Html(CSS)),
    )
    links = [h("li", h("a", title, href=f"#{name}")) for name, title, _ in sections]
    nav = h("nav", h("ul", *links), aria_label="Sections")
    main = h("main", *(_section(name, title, body) for name, title, body in sections))
    body = h("body", h("header", _top(content), nav), main)
    return f"<!doctype html>\n{h('html', head, body, lang='en')}\n"


def _top(content: Content) -> Html:
    first, *others = content.headlines
    plan = content.material.runs[0].plan
    kicker = f"Rheostat report · {plan.model} · {plan.dtype}"
    return join(
        [
            h("p", kicker, class_="kicker"),
            h("h1", _capital(first)),
            h("ul", *(h("li", _capital(sentence)) for sentence in others)) if others else "",
            _notices(content.material.notices),
        ]
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:].replace(" %", "\u00a0%")


def _notices(notices: Sequence[str]) -> Html:
    if not notices:
        return Html("")
    items = h("ul", *(h("li", _capital(notice)) for notice in notices))
    return h("div", h("p", h("strong", "Before you compare")), items, class_="notice", role="note")


def _sections(content: Content) -> list[tuple[str, str, Html]]:
    material, plots = content.material, content.plots
    plans = [
        plan_section(run, plots.frontiers.get(run.label))
        for at, run in enumerate(material.runs)
        if at or run.plan.methods
    ]
    if plots.lengths:
        plans.append(join([h("h3", "Draft lengths"), picture(plots.lengths)]))
    found = [
        ("figures", "Figures", figures_tables(content.summaries)),
        ("plan", "Why this plan", join(plans)),
        ("answers", "Answers side by side", answers_section(material)),
        ("requests", "Request by request", request_tables(material)),
    ]
    if material.profile:
        found.append(("profile", "Profile", profile_section(material.profile, plots.profile)))
    found.append(("repeat", "How to repeat it", reproduce_section(material, content.command)))
    return [section for section in found if section[2]]


def _section(name: str, title: str, body: Html) -> Html:
    return h("section", h("h2", title, id=f"{name}-title"), body, id=name,
             aria_labelledby=f"{name}-title")  # fmt: skip
