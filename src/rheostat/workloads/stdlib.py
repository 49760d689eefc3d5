"""Finds the standard library's own source files, without importing them."""

from __future__ import annotations

import ast
import sysconfig
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A parsed module of the standard library."""

    name: str
    lines: tuple[str, ...]
    tree: ast.Module


def source_files(names: Sequence[str]) -> Iterator[SourceFile]:
    """Yield the named files in order; one that this Python does not ship is passed over."""
    root = Path(sysconfig.get_path("stdlib"))
    for name in names:
        path = root / name
        if not path.is_file():
            continue
        with tokenize.open(path) as file:
            text = file.read()
        yield SourceFile(name=name, lines=tuple(text.split("\n")), tree=ast.parse(text))
