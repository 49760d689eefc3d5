"""Recordings that come with the package, so that a suite judges the same samples on any machine.

A packed recording holds a store's samples a column each, log-probabilities and entropies in
thousandths of a nat, under xz (ours). It is unpacked into a store when a suite first asks for it,
unless its questions are no longer those that are asked.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import tempfile
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat.engines.sample_store import FILE, SampleStore, StoredSample
from rheostat.kernel.cost import Cost
from rheostat.stages.sample_folder import tasks_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rheostat.workloads.tasks import Tasks

ENDING = ".json.xz"
DIGITS = 3
"""Of a nat."""
_NATS = ("logprobs", "entropies")


def packed(folder: Path) -> bytes:
    """Return the recording of a folder in its packed form.

    Raises:
        OutputError: there is none.
    """
    store = SampleStore(folder, create=False)
    rows = [_short(asdict(sample)) for sample in store.all()]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    text = json.dumps({"header": store.header, "samples": columns}, separators=(",", ":"))
    store.close()
    return lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME)


def unpacked(name: str, tasks: Tasks, under: Path) -> Path | None:
    """Return the folder of a recording that comes with the package, None where there is none.

    Args:
        name: of the recording.
        tasks: what it has to be of.
        under: where the store goes, in a folder of its own, unless it is there.

    Raises:
        OutputError: the store cannot be written.
    """
    file = resources.files("rheostat.bench").joinpath("recordings", name + ENDING)
    if not file.is_file():
        return None
    raw = file.read_bytes()
    folder = under / f"{name}-{hashlib.sha256(raw).hexdigest()[:8]}"
    if not (folder / FILE).is_file():
        _write(json.loads(lzma.decompress(raw)), folder)
    store = SampleStore(folder, create=False)
    header = store.header
    store.close()
    same = header is not None and header["tasks"] == json.loads(json.dumps(tasks_json(tasks)))
    return folder if same else None


def _write(data: Mapping[str, Any], folder: Path) -> None:
    """Write a store; it is there as a whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        store = SampleStore(Path(made), create=True)
        store.header = data["header"]
        store.add(_samples(data["samples"]))
        store.close()
        folder.mkdir(exist_ok=True)
        (Path(made) / FILE).replace(folder / FILE)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a sample's fields, numbers with the digits that count; costs beside the others."""
    for name in _NATS:
        row[name] = row[name] and [round(value * 10**DIGITS) for value in row[name]]
    cost = row.pop("cost")
    return row | {
        name: float(f"{v:.5g}") if isinstance(v, float) else v for name, v in cost.items()
    }


def _samples(columns: Mapping[str, Sequence[Any]]) -> Iterator[StoredSample]:
    costs = [field.name for field in fields(Cost)]
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        cost = Cost(**{name: row.pop(name) for name in costs})
        for name in _NATS:
            row[name] = row[name] and tuple(value / 10**DIGITS for value in row[name])
        yield StoredSample(**row | {"token_ids": tuple(row["token_ids"])}, cost=cost)
