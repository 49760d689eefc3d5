"""The frontier plot: what is lost against what it costs, one panel a cost.

Each method alone, settings put together, chance and fixed choices of the same price, perfect draft
lengths, and the plan: as predicted when it was searched, and as measured on unseen items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.figure import Figure

from rheostat.stages.intervals import FEW
from rheostat.stages.plots import (
    AXIS_OF_LOSS,
    BLUE,
    DPI,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PINK,
    SKY,
    WIDTH,
    Plot,
    plain,
    png,
    styled,
)
from rheostat.stages.report_files import interval, loss_interval, number
from rheostat.stages.report_html import counted, loss_figure, times

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes

    from rheostat.kernel.plan import Plan

    Entry = Mapping[str, Any]

COSTS = {"price": "price (triangle: measured seconds)", "flops": "FLOP", "bytes": "bytes read"}
COLOURS = (BLUE, GREEN, SKY, "#E69F00", "#5D3A9B", "#8B5A2B", "#B8A800")
ROOM = 2.0
"""How far above the limit, or above the plan's loss, losses are shown, as a multiple."""


class Spot(NamedTuple):
    """A place in a panel, with intervals of both."""

    x: tuple[float, float, float]
    """Cost as a share of the base's: value, low, high."""
    y: tuple[float, float, float]
    """Loss."""


def frontier(plan: Plan, label: str, name: str) -> Plot | None:
    """Draw a plan's search; None when the plan holds none."""
    listed = plan.predicted.get("tried") or plan.predicted.get("frontier", [])
    tried = [e for e in listed if _spot(e, "price")]
    if not tried:
        return None
    panels = [cost for cost in COSTS if any(_spot(e, cost) for e in tried)]
    kind = str(plan.predicted.get("loss_kind"))
    figure = Figure(figsize=(WIDTH, 4.8), dpi=DPI, layout="constrained")
    for at, (axes, cost) in enumerate(
        zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True)
    ):
        styled(axes)
        _panel(axes, plan, tried, cost)
        axes.set_xlabel(COSTS[cost] + ",\nas a share of the base's")
        if at == 0:
            axes.set_ylabel(AXIS_OF_LOSS.get(kind, "loss"))
    top = _top(plan, tried)
    hidden = sum(1 for e in tried if (number(e, "loss") or 0.0) > top)
    axes.set_ylim(_floor(plan, kind, top), top)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.suptitle(_verdict(plan), x=0.01, ha="left", fontsize=11)
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    few = all(e.get("items", FEW) < FEW for e in tried)
    spans = ", on too few items for intervals" if few else ", with 95 % intervals over items"
    above = f" {counted(hidden, 'setting')} that lose more are above the picture." if hidden else ""
    return Plot(
        name=name,
        png=png(figure),
        alt=_alt(plan, tried, label),
        caption=f"{label}: what the search found{spans}. Left is cheaper, "
        f"low is closer to the base.{above}",
    )


def _panel(axes: Axes, plan: Plan, tried: Sequence[Entry], cost: str) -> None:
    """Draw one cost."""
    neutral = 0.5 if plan.predicted.get("loss_kind") == "score" else 0.0
    limit = plan.predicted.get("limit")
    if limit is not None:
        axes.axhline(limit, color=GREY, lw=1, ls="--", label="limit asked for")
    together = _spots((e for e in tried if e.get("kind", "together") == "together"), cost)
    _marks(axes, together, "o", GREY, "methods together", size=3, bars=False)
    for at, (method, entries) in enumerate(_alone(tried).items()):
        look = MARKERS[at % len(MARKERS)], COLOURS[at % len(COLOURS)]
        _marks(axes, _spots(entries, cost), *look, f"{plain(method)} alone", size=4, joined=True)
    references = plan.predicted.get("references") or {}
    controls = _spots(references.get("controls", []), cost)
    _marks(axes, controls, "x", PINK, "chance or a fixed choice", size=6)
    axes.plot([1], [neutral], "s", color="black", ms=7, label="base", zorder=5)
    kept = [e for e in tried if e.get("kept") and e.get("methods")]
    _marks(axes, _spots(kept, cost), "D", ORANGE, "the plan, predicted", size=12, filled=False)
    oracle = (references.get("oracle") or {}).get("drafts")
    if cost == "price" and oracle is not None and kept:
        y = number(kept[0], "loss") or 0.0
        axes.plot([oracle], [y], "*", color="black", ms=6, label="perfect draft lengths", zorder=6)
    texts = (plan.predicted.get("oracle") or {}).get("texts") or {}
    best = number(texts, "oracle")
    if cost == "price" and best is not None and limit is not None:
        axes.plot([best], [limit], "*", color=GREY, ms=10, label="best setting of each text")
    measured = _measured(plan, cost)
    _marks(axes, measured, "^", ORANGE, "the plan, measured on unseen items", size=6)
    axes.set_xlim(left=0, right=max(1.08, min(1.6, axes.get_xlim()[1])))


def _alone(tried: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return the settings of one method alone, by the method, from its gentlest to its cheapest."""
    found: dict[str, list[Entry]] = {}
    for entry in tried:
        if entry.get("kind") in {"alone", "draft"} and len(entry["methods"]) == 1:
            method = entry["methods"][0]
            told = ", ".join(str(v) for v in method["params"].values())
            name = f"{method['name']} ({told})" if told else str(method["name"])
            found.setdefault(name, []).append(entry)
    for entries in found.values():
        entries.sort(key=lambda e: e["methods"][0]["dial"])
    return found


def _marks(  # noqa: PLR0913  # a look has many parts
    axes: Axes,
    spots: Sequence[Spot],
    marker: str,
    colour: str,
    label: str,
    *,
    size: float,
    joined: bool = False,
    bars: bool = True,
    filled: bool = True,
) -> None:
    """Draw spots with their intervals."""
    if not spots:
        return
    x, y = [spot.x[0] for spot in spots], [spot.y[0] for spot in spots]
    errors: dict[str, Any] = {}
    if bars:
        errors = {
            "xerr": _arms([spot.x for spot in spots]),
            "yerr": _arms([spot.y for spot in spots]),
        }
    axes.errorbar(
        x,
        y,
        **errors,
        ls="-" if joined else "none",
        lw=0.8,
        elinewidth=0.7,
        marker=marker,
        ms=size,
        color=colour,
        mfc=colour if filled else "none",
        label=label,
    )


def _arms(spans: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    below = [max(0.0, value - low) for value, low, _ in spans]
    return [below, [max(0.0, high - value) for value, _, high in spans]]


def _spots(entries: Iterable[Entry], cost: str) -> list[Spot]:
    return [spot for entry in entries if (spot := _spot(entry, cost))]


def _spot(entry: Entry, cost: str) -> Spot | None:
    """Return where an entry of the search lies; None when it holds no such cost."""
    found, loss = (entry.get("costs") or {}).get(cost), number(entry, "loss")
    ratio = number(entry, "price_ratio")
    if not found and cost == "price" and ratio is not None:
        found = (ratio, ratio, ratio)
    if not found or loss is None:
        return None
    if entry.get("items", FEW) < FEW:
        found = (found[0],) * 3
    low, high = loss_interval(entry) or (loss, loss)
    return Spot((found[0], found[1], found[2]), (loss, low, high))


def _measured(plan: Plan, cost: str) -> list[Spot]:
    """Return where the plan lay on unseen items; its price is held against measured seconds."""
    measured = plan.measured
    of = "seconds" if cost == "price" else cost
    ratio, loss = number(measured, f"{of}_ratio"), number(measured, "loss")
    if ratio is None or loss is None or not plan.methods:
        return []
    few = measured.get("items", FEW) < FEW
    low, high = (None if few else interval(measured, f"{of}_interval")) or (ratio, ratio)
    under, over = loss_interval(measured) or (loss, loss)
    return [Spot((ratio, low, high), (loss, under, over))]


def _top(plan: Plan, tried: Sequence[Entry]) -> float:
    """Return the largest loss that is shown."""
    neutral = 0.5 if plan.predicted.get("loss_kind") == "score" else 0.0
    kept = [e for e in tried if e.get("kept")]
    shown = [(interval(e, "loss_interval") or (0.0, 0.0))[1] for e in (*kept, plan.measured)]
    limit = plan.predicted.get("limit")
    span = max([*(s - neutral for s in shown), 0.0 if limit is None else limit - neutral, 0.01])
    largest = max((number(e, "loss") or 0.0) for e in tried) - neutral
    held = (plan.predicted.get("references") or {}).get("controls", [])
    chance = [(number(e, "loss") or neutral) - neutral for e in held]
    room = max([ROOM * span, *(1.15 * c for c in chance if c <= 2 * ROOM * span)])
    return neutral + min(room, max(1.1 * largest, 1.2 * span, *(1.15 * c for c in chance), 0.0))


def _floor(plan: Plan, kind: str, top: float) -> float:
    neutral = 0.5 if kind == "score" else 0.0
    low = (interval(plan.measured, "loss_interval") or (neutral, neutral))[0]
    return min(neutral, low) - 0.06 * (top - neutral)


def _verdict(plan: Plan) -> str:
    """Say in a line whether the plan is worth it, by what was measured on unseen items."""
    ratio, loss = number(plan.measured, "seconds_ratio"), number(plan.measured, "loss")
    if not plan.methods:
        return "No dial was worth turning: the plan is the base"
    if not ratio or loss is None:
        return ""
    lossy = loss_figure(loss, plan.measured.get("loss_kind"))
    changed = f"loses {lossy}" if plan.predicted.get("loss") or loss else "loses nothing"
    items = int(plan.measured.get("items", FEW))
    if items < FEW:
        return (
            f"On {counted(items, 'unseen item')}, too few to be sure, the plan ran at "
            f"{times(1 / ratio)} the base's speed and {changed}"
        )
    low, high = interval(plan.measured, "seconds_interval") or (ratio, ratio)
    speed = f"{times(1 / ratio)} the base's speed ({1 / high:.2f} to {1 / low:.2f})"
    return f"On unseen items the plan runs at {speed} and {changed}"


def _alt(plan: Plan, tried: Sequence[Entry], label: str) -> str:
    kept = next((e for e in tried if e.get("kept")), None)
    said = f"Loss against price, FLOP and bytes of {len(tried)} settings tried for {label}"
    if kept is None:
        return said + "."
    return f"{said}; kept: price {kept['price_ratio']:.2f} of the base, loss {kept['loss']:.3g}."
