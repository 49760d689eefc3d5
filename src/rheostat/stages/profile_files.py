"""Writes a profile: `profile.json`, and its plots as PNG files beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rheostat.errors import OutputError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rheostat.stages.plots import Plot


def write_profile(profile: Mapping[str, Any], out: Path) -> list[Path]:
    """Write a profile and its plots; return the plots' files, none where matplotlib is missing."""
    try:
        out.write_text(json.dumps(profile, indent=1) + "\n", encoding="utf-8")
        written = []
        for plot in _plots(profile):
            path = out.with_name(f"{out.stem}-{plot.name}.png")
            path.write_bytes(plot.png)
            written.append(path)
    except OSError as error:
        raise OutputError(
            f"`{out}` cannot be written: {error.strerror or error}", hint="name another file"
        ) from error
    return written


def _plots(profile: Mapping[str, Any]) -> list[Plot]:
    try:
        from rheostat.stages import plots
    except UserError:
        return []
    redundancy = profile["redundancy"]
    made = [plots.cost_curves(profile["cost"]["curves"])]
    if "held_out" in redundancy:  # the layers could be taken apart
        made.append(plots.redundancy_map(redundancy))
        made.append(plots.held_out_loss(redundancy["held_out"]))
    return made
