"""Finished parts of a suite, kept on disk, so that a stopped suite goes on where it was.

A part is kept under its name beside the result file. It is used again only by the same program on
the same machine: another version of the code, of torch or another processor starts anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import rheostat
from rheostat.engines.cache_folder import whole_file
from rheostat.stages.profile import machine_facts

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class Journal:
    """The parts of one suite that are done."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier run of the same program left at `path`."""
        self._path = path
        self._head = {"program": program_digest(), "machine": machine_facts()}
        self._parts: dict[str, Any] = _read(path, json.loads(json.dumps(self._head)))

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return a part's plain data: as it was kept, or measured now and kept."""
        if name not in self._parts:
            self._parts[name] = json.loads(json.dumps(measure()))
            with whole_file(self._path) as partial:
                partial.write_text(json.dumps(self._head | {"parts": self._parts}), "utf-8")
        return self._parts[name]

    def done(self) -> None:
        """Forget the parts: the result file holds them."""
        self._path.unlink(missing_ok=True)


def program_digest() -> str:
    """Return a digest of the package's source files."""
    folder = Path(rheostat.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _read(path: Path, head: Any) -> dict[str, Any]:
    """Return the parts of a journal with this head."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parts: dict[str, Any] = kept.pop("parts")
    except (OSError, ValueError, LookupError, AttributeError):
        return {}
    return parts if kept == head else {}
