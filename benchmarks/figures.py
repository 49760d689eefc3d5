"""Draw the documents' pictures from the result files into docs/images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parent.parent
COLOURS = {"engine base": "#6b7280", "fastest peer": "#D55E00", "all draft sources": "#0072B2"}


def decode_figure(data: dict) -> Figure:
    """Tokens a second of the engine's base, the fastest peer and the controller."""
    formats = list(dict.fromkeys(cell["dtype"] for cell in data["cells"]))
    figure = Figure(figsize=(9, 3.4), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(formats), sharey=True, squeeze=False)[0]
    for axes, dtype in zip(panels, formats, strict=True):
        cells = [c for c in data["cells"] if c["dtype"] == dtype and c["counted"]]
        for shift, (label, colour) in enumerate(COLOURS.items()):
            at = [i + 0.27 * (shift - 1) for i in range(len(cells))]
            heights = [speed(cell, label) for cell in cells]
            bars = axes.bar(at, heights, width=0.25, color=colour, label=label)
            axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
        axes.set_xticks(range(len(cells)), [cell["workload"] for cell in cells], fontsize=8)
        axes.set_title(dtype, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("tokens a second, one thread")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def speed(cell: dict, label: str) -> float:
    """Tokens a second of one of the three; 0 where no peer answered."""
    names = {"engine base": "base", "all draft sources": "controller"}
    name = names.get(label, cell["best_peer"])
    return cell["contestants"][name]["tokens_per_second"] if name else 0.0


REASON_COSTS = {
    "side_by_side": "price, samples side by side",
    "one_by_one": "price, one sample at a time",
    "tokens": "tokens read and written",
}
LOOKS = (
    *(("#0072B2", "o"), ("#009E73", "s"), ("#56B4E9", "D"), ("#E69F00", "^"), ("#5D3A9B", "v")),
    *(("#8B5A2B", "P"), ("#B8A800", "o"), ("#0072B2", "s"), ("#009E73", "D"), ("#56B4E9", "^")),
    *(("#E69F00", "v"), ("#5D3A9B", "P"), ("#8B5A2B", "o"), ("#B8A800", "s")),
)


def reason_figure(data: dict) -> Figure:
    """Accuracy against costs: each choice alone, chance, the plans, the base and hindsight."""
    figure = Figure(figsize=(9, 5.2), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(REASON_COSTS), sharey=True)
    for axes, (cost, label) in zip(panels, REASON_COSTS.items(), strict=True):
        dots(axes, data["best"][cost], cost, "#6b7280", ".", "together, picked afterwards", ls=":")
        for look, (name, found) in zip(LOOKS, data["singles"].items(), strict=False):
            dots(axes, found, cost, *look, f"{name} alone", ls="-")
        dots(axes, data["lots"], cost, "#CC79A7", "x", "stopping by lot", size=5)
        plans = [p for p in data["plans"] if p["by"] == cost or cost not in CHOSEN_BY]
        dots(axes, plans, cost, "#D55E00", "D", "the plans", size=7, bars=True, mfc="none")
        dots(axes, [data["base"]], cost, "black", "s", "base", size=6, bars=True)
        dots(axes, [data["oracle"][cost]], cost, "black", "*", "hindsight", size=9)
        axes.set_xlabel(f"{label},\nas a share of the base's")
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("right answers")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=7)
    return figure


CHOSEN_BY = ("side_by_side", "one_by_one")
"""Costs that plans are chosen by; in the panels of others all plans are drawn."""


def dots(  # noqa: PLR0913  # a look has many parts
    axes: Axes,
    found: list[dict],
    cost: str,
    colour: str,
    marker: str,
    label: str,
    *,
    size: float = 3,
    ls: str = "none",
    bars: bool = False,
    **look: str,
) -> None:
    """Draw settings in a panel, from the cheapest, with 95 % intervals where asked."""
    ordered = sorted(found, key=lambda own: own["ratios"][cost]["ratio"])
    x, y = [own["ratios"][cost]["ratio"] for own in ordered], [own["accuracy"] for own in ordered]
    errors = {}
    if bars:
        across = [own["ratios"][cost]["interval"] for own in ordered]
        errors = {
            "xerr": arms(x, across),
            "yerr": arms(y, [own["accuracy_interval"] for own in ordered]),
        }
    style = {"marker": marker, "ms": size, "color": colour, "label": label, "ls": ls, "lw": 0.8}
    axes.errorbar(x, y, **errors, elinewidth=0.7, **style, **look)


def arms(values: list[float], spans: list[list[float]]) -> list[list[float]]:
    """Return how far intervals reach below and above their values."""
    pairs = list(zip(values, spans, strict=True))
    return [
        [max(0.0, value - low) for value, (low, _) in pairs],
        [max(0.0, high - value) for value, (_, high) in pairs],
    ]


FIGURES = {"decode": decode_figure, "reason": reason_figure}


def main() -> int:
    """Draw every figure whose result file exists."""
    for suite, draw in FIGURES.items():
        path = ROOT / "benchmarks" / "results" / f"{suite}.json"
        if path.exists():
            drawn = ROOT / "docs" / "images" / f"{suite}.png"
            draw(json.loads(path.read_text("utf-8"))).savefig(drawn, metadata={"Software": ""})
            print(f"wrote {drawn.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
