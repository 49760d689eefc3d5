"""The report's plots as PNG: 900 px wide on the page, drawn at twice that, colour-blind safe."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.errors import UserError
from rheostat.stages.report_html import counted

try:
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError as error:
    raise UserError(
        "a report needs `matplotlib` for its plots, and it is not installed",
        hint='pip install "rheostat[plots]"',
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

WIDTH, DPI = 9.0, 200
"""Inches of 100 CSS pixels, at two dots a pixel."""
BLUE, ORANGE, GREEN, PINK, SKY, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#6b7280",
)  # fmt: skip
"""Of Okabe and Ito: told apart with every common form of colour blindness."""
MARKERS = "osD^vP"
PARTS = {"attention": "attention", "mlp": "MLP", "layer": "whole layer"}
AXIS_OF_LOSS = {
    "disagree": "loss: share of tokens that differ",
    "score": "loss of score (0.5 = none)",
    "nats": "loss: excess nats per token",
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture and what it says to those who do not see it."""

    name: str
    png: bytes
    alt: str
    caption: str


def cost_curves(curves: Sequence[Mapping[str, Any]]) -> Plot:
    """Draw the seconds of a pass over n tokens relative to n = 1."""
    figure, axes = canvas(4.2)
    contexts = sorted({c["context"] for c in curves})
    kinds = sorted({(c["dtype"], c["threads"]) for c in curves})
    ticks = sorted({n for c in curves for n in c["tokens"]})
    for curve in curves:
        at = kinds.index((curve["dtype"], curve["threads"]))
        axes.plot(
            curve["tokens"],
            [s / curve["seconds"][0] for s in curve["seconds"]],
            color=(BLUE, ORANGE, GREEN, PINK, SKY, "black")[at % 6],
            linestyle=("-", "--", ":", "-.")[contexts.index(curve["context"]) % 4],
            marker=MARKERS[at % len(MARKERS)],
            ms=4,
            label=f"{plain(curve['dtype'])}, {counted(curve['threads'], 'thread')}, "
            f"context {curve['context']}",
        )
    axes.plot(ticks, ticks, color=GREY, lw=1, label="n passes of one token")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel("new tokens in one forward pass, n")
    axes.set_ylabel("seconds relative to n = 1")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    worst = max(c["seconds"][-1] / c["seconds"][0] for c in curves)
    return Plot(
        name="cost-curves",
        png=png(figure),
        alt=f"Seconds of one forward pass over 1 to {ticks[-1]} new tokens relative to one token, "
        f"for {len(curves)} settings; at most {worst:.1f} times.",
        caption="What a pass over n tokens costs here. The further a line runs below the grey "
        "one, the cheaper it is to verify drafts.",
    )


def redundancy_map(redundancy: Mapping[str, Any]) -> Plot:
    """Draw similarity and drop loss of every sub-layer as two heat maps."""
    figure = Figure(figsize=(WIDTH, 4.4), dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    similarity, loss = (
        np.array([redundancy[part][what] for part in PARTS], dtype=float)
        for what in ("similarity", "drop_loss")
    )
    top = max(float(np.nanmax(loss)), 2e-3)
    floor = max(1e-3, min(top / 2, float(np.nanmin(np.where(loss > 0, loss, np.inf)))))
    panels = (
        (upper, similarity, Normalize(), "cividis", "similarity (cosine)"),
        (lower, np.clip(loss, floor, None), LogNorm(floor, top), "magma_r", "drop loss (nats)"),
    )
    for axes, values, norm, colours, text in panels:
        picture = axes.imshow(values, aspect="auto", cmap=colours, norm=norm)
        axes.set_yticks(range(len(PARTS)), list(PARTS.values()))
        axes.tick_params(length=0)
        bar = figure.colorbar(picture, ax=axes, pad=0.015, aspect=12)
        bar.set_label(text)
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.outline.set_visible(False)
    lower.xaxis.set_major_locator(MaxNLocator(16, integer=True))
    lower.set_xlabel("layer (0 = first)")
    return Plot(
        name="layers",
        png=png(figure),
        alt=f"Two heat maps over {similarity.shape[1]} layers, for attention, MLP and whole layer: "
        "similarity of a sub-layer's input and output, and loss when it alone is dropped.",
        caption="Above: how little each sub-layer changes its input (1 = nothing). Below: excess "
        "nats per token when it alone is dropped (colours on a logarithmic scale).",
    )


def held_out_loss(held_out: Mapping[str, Any]) -> Plot:
    """Draw the loss increase against the number of dropped units."""
    figure, axes = canvas(4.0)
    for at, (part, text) in enumerate(PARTS.items()):
        colour = (BLUE, ORANGE, GREEN)[at]
        axes.plot(held_out["k"], held_out[part], color=colour, marker=MARKERS[at], ms=5, label=text)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(held_out["k"])
    axes.set_xlabel("units dropped, most similar first")
    axes.set_ylabel("loss increase (nats per token)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    ends = [f"{text} {held_out[part][-1]:.2g}" for part, text in PARTS.items()]
    return Plot(
        name="held-out",
        png=png(figure),
        alt=f"Loss increase on held-out text against the number of dropped units; with "
        f"{held_out['k'][-1]} dropped, in nats per token: {', '.join(ends)}.",
        caption="Held-out text: loss increase with the k most similar units dropped together "
        "(linear up to 0.1 nats, logarithmic above).",
    )


def draft_lengths(lengths: Mapping[str, Mapping[int, int]]) -> Plot:
    """Draw each run's share of decoding steps by draft length, a panel a run."""
    figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * len(lengths)), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(lengths), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, counts) in zip(panels, lengths.items(), strict=True):
        styled(axes)
        steps = sum(counts.values())
        axes.bar(list(counts), [n / steps for n in counts.values()], color=BLUE, width=0.8)
        axes.set_title(f"{plain(label)}: {steps} steps", loc="left", fontsize=10)
        axes.set_ylabel("share of steps")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.xaxis.set_major_locator(MaxNLocator(16, integer=True, min_n_ticks=1))
    panels[-1].set_xlim(-0.6, max(max(counts) for counts in lengths.values()) + 0.6)
    panels[-1].set_xlabel("draft tokens verified in a step (0 = an ordinary step)")
    idle = ", ".join(f"{k} {c.get(0, 0) / sum(c.values()):.0%}" for k, c in lengths.items())
    return Plot(
        name="draft-lengths",
        png=png(figure),
        alt=f"Histogram of draft lengths by decoding step. Steps without a draft: {idle}.",
        caption="How many draft tokens each decoding step verified.",
    )


def plain(text: object) -> str:
    """Return a text that the plots' font can draw and that is not read as a formula."""
    font = get_font(findfont(FontProperties()))
    drawn = (c if c >= " " and font.get_char_index(ord(c)) else "?" for c in str(text))
    shown = "".join(drawn).replace("$", r"\$")
    return shown if len(shown) <= 60 else shown[:59] + "…"


def canvas(height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of the page's width, so many inches high."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    styled(axes)
    return figure, axes


def styled(axes: Axes) -> None:
    """Give axes the look of all plots."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#d8dce2", lw=0.7)
    axes.set_axisbelow(True)


def png(figure: Figure) -> bytes:
    """Return the picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
