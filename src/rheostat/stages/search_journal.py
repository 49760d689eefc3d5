"""What a search has measured, kept a line each, so that a stopped search goes on where it was.

A measurement is known by what was measured: the digest of its key says which setting on which
items. The file's first line says of which model, in which number format and with how long answers;
a file of anything else is begun anew. A line that was cut off in mid-write is dropped.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from typing import TYPE_CHECKING, Any, final

from rheostat.stages.durable_files import dumped, json_lines, replace_file, to_disk, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ENDING = ".search.jsonl"
"""A plan's journal lies beside it, under its name and this ending."""


@final
class SearchJournal:
    """Measurements by their keys; without a file they are kept for this process alone."""

    def __init__(self, path: Path | None = None) -> None:
        """Keep the measurements in a file; `begin` reads it."""
        self._path = path
        self._known: dict[str, Any] = {}
        self._took: dict[str, float] = {}
        self._asked: set[str] = set()

    def begin(self, head: Mapping[str, Any]) -> None:
        """Read what an earlier search of the same model left, and drop anything else.

        Args:
            head: what all measurements have in common, as plain data.

        Raises:
            OutputError: the file cannot be read or written.
        """
        if self._path is None:
            return
        head = json.loads(json.dumps(head))
        first, *lines = json_lines(self._path) or [{}]
        if first != head:
            lines = []
        self._known = {line["key"]: line["data"] for line in lines}
        self._took = {line["key"]: line["seconds"] for line in lines}
        replace_file(self._path, "".join(map(dumped, [head, *lines])))

    def knows(self, key: Any) -> bool:
        """Return whether something was measured before."""
        return _digest(key) in self._known

    @property
    def seconds(self) -> float:
        """What the measurements that were asked for took, now or earlier, each counted once."""
        return math.fsum(self._took[name] for name in self._asked)

    def count_anew(self) -> None:
        """Count `seconds` from here: a plan that shares measurements is told what each took."""
        self._asked.clear()

    def part(self, key: Any, measure: Callable[[], Any], *, about: str) -> Any:
        """Return a measurement's plain data: as it was kept, or measured now and kept.

        Args:
            key: plain data that says what is measured, and on what.
            measure: measures it.
            about: the same in words, for those who read the file.
        """
        name = _digest(key)
        if name in self._known:
            self._asked.add(name)
            return self._known[name]
        start = time.perf_counter()
        data = measure()
        self.keep(key, data, time.perf_counter() - start, about=about)
        self._asked.add(name)
        return self._known[name]

    def keep(self, key: Any, data: Any, seconds: float, *, about: str) -> None:
        """Keep what was measured elsewhere, and how long it took there.

        Args:
            key: plain data that says what was measured, and on what.
            data: what came of it, as plain data.
            seconds: what it took.
            about: the same in words, for those who read the file.
        """
        name, data = _digest(key), json.loads(json.dumps(data))
        self._known[name], self._took[name] = data, seconds
        if self._path is not None:
            line = {"key": name, "about": about, "seconds": seconds, "data": data}
            with writing(self._path), self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(dumped(line))
                to_disk(file)


def _digest(key: Any) -> str:
    text = json.dumps(key, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:24]
