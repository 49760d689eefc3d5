"""The folder of a run: what is finished stays finished, whatever ends the process.

A finished request is first appended to `journal.jsonl` and brought to the disk, then written to
`outputs.jsonl` and `trace.jsonl` in input order; what had to wait for an earlier request is in the
journal alone. All three are read when a run resumes, a last line cut off in mid-write is dropped,
and the journal is removed when every request is in the other two.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, final

from rheostat.errors import OutputError
from rheostat.stages.durable_files import (
    OTHER_FOLDER,
    dumped,
    indented,
    json_lines,
    replace_file,
    to_disk,
    writing,
)
from rheostat.stages.folder_lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from rheostat.engines.base import Output

Line = dict[str, Any]
RUN, PLAN = "run.json", "plan.json"
OUTPUTS, TRACE, JOURNAL = "outputs.jsonl", "trace.jsonl", "journal.jsonl"


@contextmanager
def open_run(folder: Path, header: Mapping[str, Any], ids: Sequence[str]) -> Iterator[RunFolder]:
    """Open a new run's folder, or that of the same run; nobody else can open it meanwhile.

    Args:
        header: what `run.json` holds; without a `label` the run is called like its folder.
        ids: the requests in input order.

    Raises:
        OutputError: the folder is of another run, in use, damaged or cannot be written.
    """
    with writing(folder):
        _refuse_other_files(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = ExitStack()
        lock.enter_context(locked(folder))
    with lock:
        run = RunFolder(folder, _agreed(folder, header), ids)
        try:
            yield run
        finally:
            run.close()


@final
class RunFolder:
    """An open run folder."""

    def __init__(self, folder: Path, header: Mapping[str, Any], ids: Sequence[str]) -> None:
        """Read what is finished and put the files in order."""
        self.header = header
        self._folder = folder
        self._ids = ids
        found = _recovered(folder)
        self._finished = {i: found[i] for i in ids if i in found}
        self._published = next(
            (at for at, i in enumerate(ids) if i not in self._finished), len(ids)
        )
        self._files = ExitStack()
        done = [self._finished[i] for i in ids[: self._published]]
        waiting = [self._finished[i] for i in ids[self._published :] if i in self._finished]
        # The journal last: at every moment each finished request is in one of the files.
        replace_file(folder / OUTPUTS, "".join(dumped(line["output"]) for line in done))
        replace_file(folder / TRACE, "".join(dumped(line["trace"]) for line in done))
        replace_file(folder / JOURNAL, "".join(dumped(line) for line in waiting))
        self._outputs, self._trace, self._journal = (
            self._appending(name) for name in (OUTPUTS, TRACE, JOURNAL)
        )

    @property
    def finished(self) -> Mapping[str, Line]:
        """`{"output": ..., "trace": ...}` of every finished request, by id."""
        return self._finished

    def add(self, output: Output) -> None:
        """Keep a finished request."""
        trace = {"id": output.id, **output.trace.to_json()}
        line = {"output": output.to_json(), "trace": trace}
        with writing(self._folder):
            self._journal.write(dumped(line))
            to_disk(self._journal)
            self._finished[output.id] = line
            self._publish()

    def complete(self) -> None:
        """Remove the journal once every request is in the other files."""
        assert self._published == len(self._ids)
        with writing(self._folder):
            to_disk(self._outputs)
            to_disk(self._trace)
            (self._folder / JOURNAL).unlink()

    def close(self) -> None:
        """Close the files; each line was flushed when it was written."""
        with suppress(OSError):
            self._files.close()

    def _appending(self, name: str) -> IO[str]:
        path = self._folder / name
        with writing(path):
            return self._files.enter_context(path.open("a", encoding="utf-8", newline="\n"))

    def _publish(self) -> None:
        """Write the finished requests that no unfinished one precedes."""
        for name in self._ids[self._published :]:
            line = self._finished.get(name)
            if line is None:
                break
            self._outputs.write(dumped(line["output"]))
            self._trace.write(dumped(line["trace"]))
            self._published += 1
        self._outputs.flush()
        self._trace.flush()


def _refuse_other_files(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`{folder}` is not a folder", hint="name a folder with `--out`")
    if not folder.is_dir() or (folder / RUN).exists():
        return
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if others:
        raise OutputError(
            f"`{folder}` holds files that are not of a run, such as `{others[0]}`",
            hint=OTHER_FOLDER,
        )


def _agreed(folder: Path, header: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write `run.json` and `plan.json`, or refuse the folder when they are of another run."""
    path = folder / RUN
    label = header["label"]
    if path.exists():
        held = _read_header(path)
        differs = next((key for key in _SAME if _part(held, key) != _part(header, key)), None)
        if differs is not None:
            raise OutputError(
                f"`{folder}` holds another run: its {_SAME[differs]} differ from these",
                hint=OTHER_FOLDER,
            )
        header, label = held, label or held.get("label")
    header = {**header, "label": label or folder.resolve().name}
    replace_file(path, indented(header))
    replace_file(folder / PLAN, indented(header["plan"]))
    return header


_SAME: Mapping[str, str] = {
    "plan.digest": "model's weights",
    "plan.dtype": "number formats",
    "plan.methods": "methods and dials",
    "requests.digest": "requests",
    "sampling": "sampling options",
    "budget": "budgets",
    "shadow": "shadow shares",
}
"""What makes two runs the same, and what it is called."""


def _part(header: Mapping[str, Any], key: str) -> Any:
    """Return a part of a header as JSON would give it back."""
    value: Any = header
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return json.loads(json.dumps(value))


def _read_header(path: Path) -> Line:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"`{path}` cannot be read: {error}", hint=OTHER_FOLDER) from error
    if not isinstance(held, dict):
        raise OutputError(f"`{path}` is not of a run", hint=OTHER_FOLDER)
    return held


def _recovered(folder: Path) -> dict[str, Line]:
    """Return every finished request; one whose trace is lost counts as unfinished."""
    traces = {line.get("id"): line for line in json_lines(folder / TRACE)}
    lines = [
        {"output": output, "trace": traces[output.get("id")]}
        for output in json_lines(folder / OUTPUTS)
        if output.get("id") in traces
    ]
    lines += json_lines(folder / JOURNAL)
    try:
        return {str(line["output"]["id"]): line for line in lines if line["trace"]}
    except (KeyError, TypeError) as error:
        raise OutputError(
            f"`{folder / JOURNAL}` is damaged: a line lacks {error}", hint=OTHER_FOLDER
        ) from error
