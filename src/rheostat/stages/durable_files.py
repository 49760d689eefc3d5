"""Files that survive the end of a process: appended to the disk, or replaced as a whole."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rheostat.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import IO

OTHER_FOLDER = "name another folder with `--out`, or delete this one"


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return a file's JSON objects; the last line may have been cut off and is then left out."""
    if not path.exists():
        return []
    try:
        texts = [text for text in path.read_bytes().split(b"\n") if text.strip()]
    except OSError as error:
        raise OutputError(f"`{path}` cannot be read: {error.strerror}") from error
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            if number == len(texts):
                break
            raise OutputError(f"`{path}` line {number} is not JSON", hint=OTHER_FOLDER) from error
        if not isinstance(line, dict):
            raise OutputError(f"`{path}` line {number} is not a JSON object", hint=OTHER_FOLDER)
        lines.append(line)
    return lines


def dumped(line: Mapping[str, Any]) -> str:
    """Return an object as a line."""
    return json.dumps(line, ensure_ascii=False) + "\n"


def indented(data: Mapping[str, Any]) -> str:
    """Return an object as people read it."""
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def replace_file(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was before."""
    partial = path.with_name(f".partial-{path.name}")
    with writing(path):
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            to_disk(file)
        partial.replace(path)


def to_disk(file: IO[str]) -> None:
    """Bring what was written to the disk."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, missing rights and the like into an `OutputError` about `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"`{path}` cannot be written: {error.strerror or error}",
            hint="free some space or name another folder with `--out`; what is finished is kept, "
            "and the same command goes on from there",
        ) from error
