"""Draw the documents' pictures from the result files into docs/images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

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


FIGURES = {"decode": decode_figure}


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
