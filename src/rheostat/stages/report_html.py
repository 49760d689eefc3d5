"""HTML that is escaped by construction, and numbers as people read them."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rheostat.stages.report_files import Interval

NOTHING = "–"  # noqa: RUF001  # an en dash: an empty cell that was looked at
VOID = frozenset({"meta", "img", "br"})
CONTROL = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}


class Html(str):
    """Text that is HTML already; every other text is escaped when it meets a tag."""


def h(tag: str, *children: str, **attributes: str) -> Html:
    """Build an element; `class_` and `for_` lose their underscore, others become hyphens."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for name, value in attributes.items()
    )
    if tag in VOID:
        return Html(f"<{tag}{named}>")
    return Html(f"<{tag}{named}>{join(children)}</{tag}>")


def join(children: Iterable[str]) -> Html:
    """Put pieces after each other, escaping those that are plain text."""
    return Html("".join(c if isinstance(c, Html) else escaped(c) for c in children))


def escaped(text: str) -> str:
    """Escape for element content and attributes; control characters become visible symbols."""
    return text if isinstance(text, Html) else html.escape(text.translate(CONTROL), quote=True)


class Column(NamedTuple):
    """A column's head; numbers are set right, texts left."""

    title: str
    text: bool = False


class Group(NamedTuple):
    """A heading over several columns."""

    title: str
    columns: int


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    groups: Sequence[Group] = (),
) -> Html:
    """Build a table in a box of its own that scrolls; a row's first cell is its head."""
    over = [
        h("th", g.title, scope="colgroup", colspan=str(g.columns)) if g.title else h("td")
        for g in groups
    ]
    heads = [h("th", c.title, scope="col", class_="text" if c.text else "number") for c in columns]
    head = join([h("tr", *over, class_="groups") if over else "", h("tr", *heads)])
    body = join(_row(columns, row) for row in rows)
    inner = h("table", h("caption", caption), h("thead", head), h("tbody", body))
    return scrolling(caption, inner)


def scrolling(label: str, inner: Html) -> Html:
    """Put something wide into a box that scrolls, by keyboard too."""
    return h("div", inner, class_="scroll", role="region", aria_label=label, tabindex="0")


def prose(text: str) -> Html:
    """Turn the names in backticks of a sentence into code."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return join([text])
    return join(h("code", p) if at % 2 else p for at, p in enumerate(pieces))


def folded(summary: str, *inner: Html) -> Html:
    """Fold pieces away under a line that opens them."""
    return h("details", h("summary", summary), *inner)


def _row(columns: Sequence[Column], row: Sequence[str]) -> Html:
    first = h("th", row[0], scope="row")
    rest = [
        h("td", cell, class_="text" if column.text else "number")
        for column, cell in zip(columns[1:], row[1:], strict=True)
    ]
    return h("tr", first, *rest)


def figures(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits and no exponent."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    places = max(0, digits - 1 - size)
    if places > 8:
        return _minus(f"{value:.{digits - 1}e}")
    return _minus(f"{value:,.{places}f}".replace(",", "\u202f"))


def whole(value: float) -> str:
    """Write a count with thin spaces between thousands."""
    return _minus(f"{value:,.0f}".replace(",", "\u202f"))


def si(value: float, unit: str) -> str:
    """Write a quantity with a decimal prefix: 1.2e9 FLOP is 1.20 GFLOP."""
    if not value:
        return NOTHING
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 1000 or prefix == "P":
            return f"{figures(value)}\u00a0{prefix}{unit}"
        value /= 1000
    raise AssertionError


def percent(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write a share in per cent."""
    if value is None or not math.isfinite(value):
        return NOTHING
    sign = "+" if signed else ""
    return _minus(f"{100 * value:{sign}.{digits}f}\u00a0%")


def times(value: float | None) -> str:
    """Write a ratio: 1.84×."""  # noqa: RUF002
    if value is None:
        return NOTHING
    return f"{value:.2f}×"  # noqa: RUF001


def bounds(pair: Interval | None) -> str:
    """Write an interval's bounds of a ratio."""
    return "" if pair is None else f"{pair.low:.2f} to {pair.high:.2f}"


def loss_figure(value: float | None, kind: object) -> str:
    """Write a loss in the unit of its kind: `disagree` in per cent, `nats` and `score` as is."""
    if kind == "disagree":
        return percent(value, 2)
    return figures(value) + (" nats" if kind == "nats" and value is not None else "")


def counted(count: int, noun: str) -> str:
    """Write a count and its noun: 1 request, 2 requests."""
    return f"{whole(count)} {noun}{'' if count == 1 else 's'}"


def _minus(text: str) -> str:
    return text.replace("-", "\u2212")
