"""The folder of `record` and `solve`: a store of samples of one run, for one process at a time."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rheostat.engines.base import Request, Sampling
from rheostat.engines.sample_store import FILE, SampleStore
from rheostat.errors import OutputError, PlanError
from rheostat.stages.durable_files import OTHER_FOLDER, writing
from rheostat.stages.folder_lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rheostat.workloads.tasks import Tasks

OWN_KEYS: Mapping[str, str] = {
    "kind": "kind of run",
    "digest": "model's weights",
    "dtype": "number formats",
    "model": "model",
    "tasks.digest": "tasks",
    "sampling": "sampling options",
    "samples": "samples a question",
    "plan.methods": "methods and dials",
    "budget": "budgets",
    "verifier": "verifiers",
    "prices": "prices of tokens",
    "width": "widths",
    "learnt": "recordings that were learnt from",
    "frugal": "settings of `--frugal`",
}
"""What makes two runs the same, and what it is called."""


@contextmanager
def open_samples(folder: Path, header: Mapping[str, Any]) -> Iterator[SampleStore]:
    """Open a new store, or that of the same run; nobody else can open it meanwhile.

    Raises:
        OutputError: the folder is of another run, in use, damaged or cannot be written.
    """
    with writing(folder):
        _refuse_other_files(folder)
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        store = SampleStore(folder, create=True)
        try:
            _agree(store, folder, header)
            yield store
        finally:
            store.close()


def tasks_json(tasks: Tasks) -> dict[str, Any]:
    """Return the part of a header that says which questions were asked."""
    items = [
        {
            "id": request.id,
            "prompt": request.prompt,
            "messages": [dict(message) for message in request.messages] or None,
            "reference": request.reference,
        }
        for request in tasks.items
    ]
    return {"name": tasks.name, "digest": tasks.digest, "items": items}


def items_of(header: Mapping[str, Any]) -> list[Request]:
    """Return the questions that a header names."""
    return [
        Request(
            id=str(line["id"]),
            prompt=line["prompt"],
            messages=tuple(line["messages"] or ()),
            reference=line["reference"],
        )
        for line in header.get("tasks", {}).get("items", ())
    ]


def sampling_json(sampling: Sampling) -> dict[str, Any]:
    """Return the sampling options as a header holds them."""
    return {**sampling.to_json(), "stop": list(sampling.stop)}


def sampling_of(data: Mapping[str, Any]) -> Sampling:
    """Read what `sampling_json` wrote; raise `PlanError` for anything else."""
    try:
        return Sampling(**{**data, "stop": tuple(data.get("stop", ()))})
    except TypeError as error:
        raise PlanError(
            f"the plan's sampling options are malformed: {error}",
            hint="make the plan again with `rheostat plan`",
        ) from error


def _agree(store: SampleStore, folder: Path, header: Mapping[str, Any]) -> None:
    held = store.header
    if held is None:
        store.header = header
        return
    differs = next((key for key in OWN_KEYS if _part(held, key) != _part(header, key)), None)
    if differs is not None:
        raise OutputError(
            f"`{folder}` holds another run: its {OWN_KEYS[differs]} differ from these",
            hint=OTHER_FOLDER,
        )


def _part(header: Mapping[str, Any], key: str) -> Any:
    value: Any = header
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return json.loads(json.dumps(value))


def _refuse_other_files(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`{folder}` is not a folder", hint="name a folder with `--out`")
    if not folder.is_dir() or (folder / FILE).exists():
        return
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if others:
        raise OutputError(
            f"`{folder}` holds files that are not of such a run, such as `{others[0]}`",
            hint=OTHER_FOLDER,
        )
