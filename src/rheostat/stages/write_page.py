"""Writes a page and its plots beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rheostat.stages.plots import Plot


def write_page(out: Path, text: str, drawn: Sequence[Plot]) -> list[Path]:
    """Write the page `out`, and its plots into `<stem>_files/`; return the plots' files."""
    folder = out.with_name(f"{out.stem}_files")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{plot.name}.png" for plot in drawn]
        for file, plot in zip(files, drawn, strict=True):
            file.write_bytes(plot.png)
        # Half of a surrogate pair, which JSON allows, is no UTF-8: it becomes a reference.
        out.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
    except OSError as error:
        raise OutputError(
            f"`{out}` cannot be written: {error}", hint="name another file with `--out`"
        ) from error
    return files
