"""Writes the report of run folders: one self-contained page, its plots as files, a summary.

Reads what `run`, `plan` and `profile` wrote; the same folders give the same page, byte for byte.
"""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

from rheostat.errors import OutputError
from rheostat.stages import plots
from rheostat.stages.plots_frontier import frontier
from rheostat.stages.report_data import read_material
from rheostat.stages.report_headline import headlines
from rheostat.stages.report_page import Content, Plots, page
from rheostat.stages.report_summary import summarise
from rheostat.stages.write_page import write_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rheostat.stages.plots import Plot
    from rheostat.stages.report_data import Material
    from rheostat.stages.report_summary import Summary

MOST_HISTOGRAMS = 6


def write_report(
    folders: Sequence[Path], out: Path, *, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Write the page `out` and its plots into `<stem>_files/`; return the summary as JSON data."""
    say = progress or _silent
    if out.is_dir():
        raise OutputError(f"`{out}` is a folder", hint="name a file, such as `report.html`")
    say(f"reading {len(folders)} run folders")
    material = read_material(folders)
    say(f"comparing {len(material.ids)} requests")
    summaries = summarise(material)
    say("drawing plots")
    drawn = _draw(material, summaries)
    content = Content(
        material=material,
        summaries=summaries,
        headlines=headlines(summaries),
        plots=drawn,
        command=shlex.join(["rheostat", "report", *map(str, folders), "--out", str(out)]),
    )
    files = write_page(out, page(content), drawn.all())
    say(f"wrote {out}")
    summary = {
        "report": str(out),
        "plots": [str(f) for f in files],
        "headline": content.headlines[0],
        "headlines": list(content.headlines),
        "base": material.runs[0].label,
        "requests": len(material.ids),
        "runs": [s.to_json() for s in summaries],
        "notices": list(material.notices),
    }
    return {key: _finite(value) for key, value in summary.items()}


def _draw(material: Material, summaries: Sequence[Summary]) -> Plots:
    frontiers = {}
    for at, run in enumerate(material.runs, start=1):
        plot = frontier(run.plan, run.label, f"frontier-{at}")
        if plot:
            frontiers[run.label] = plot
    lengths = {s.run.label: s.trace.lengths for s in summaries if any(s.trace.lengths)}
    shown = dict(list(lengths.items())[:MOST_HISTOGRAMS])
    return Plots(
        frontiers=frontiers,
        lengths=plots.draft_lengths(shown) if shown else None,
        profile=_profile_plots(material.profile) if material.profile else (),
    )


def _profile_plots(profile: Mapping[str, Any]) -> list[Plot]:
    redundancy = profile.get("redundancy") or {}
    curves = (profile.get("cost") or {}).get("curves")
    found = [plots.cost_curves(curves)] if curves else []
    if "layer" in redundancy:
        found.append(plots.redundancy_map(redundancy))
    if "held_out" in redundancy:
        found.append(plots.held_out_loss(redundancy["held_out"]))
    return found


def _finite(data: Any) -> Any:
    """Replace numbers that strict JSON does not know by null."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _silent(_: str) -> None:
    """Report nothing."""
