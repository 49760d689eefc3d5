"""Reads the files that a report is made of: run folders and profiles of earlier stages."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rheostat.engines.base import Output
from rheostat.errors import OutputError, PlanError
from rheostat.kernel.cost import Cost
from rheostat.kernel.plan import Plan
from rheostat.kernel.trace import Trace
from rheostat.stages.intervals import FEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VERSION = 1
MAKE_A_RUN = "make one with `rheostat run PLAN --requests R.jsonl --out DIR`"
RUN_AGAIN = "run again with the same `--out`, or with a new folder"


class Interval(NamedTuple):
    """Bounds of a 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder."""

    folder: Path
    label: str
    """Unique among the runs of a report."""
    plan: Plan
    requests: Mapping[str, Any]
    """`path`, `digest` and `count` of the file of requests."""
    sampling: Mapping[str, Any]
    machine: Mapping[str, Any]
    command: str
    outputs: Mapping[str, Output]
    """By id, in input order; fewer than `requests["count"]` while unfinished."""
    other_plan: bool = False
    """True when `plan.json` is not the plan that was run."""


def read_run(folder: Path) -> Run:
    """Read one run folder; raise `OutputError` when it is none or is damaged."""
    path = folder / "run.json"
    if not path.is_file():
        raise OutputError(
            f"`{folder}` is not a run folder: it has no `run.json`"
            if folder.is_dir()
            else f"there is no folder `{folder}`",
            hint=MAKE_A_RUN,
        )
    data = read_json(path)
    plan = _plan(data.get("plan"), path)
    other = folder / "plan.json"
    written = _plan(read_json(other), other) if other.is_file() else plan
    same = written.methods == plan.methods and written.model == plan.model
    requests = data.get("requests") or {}
    if not isinstance(requests, dict) or not isinstance(requests.get("count"), int):
        raise OutputError(f"`{path}` is damaged: it has no count of requests", hint=RUN_AGAIN)
    outputs = _read_outputs(folder)
    if len(outputs) > requests["count"]:
        raise OutputError(
            f"`{folder}` is damaged: {len(outputs)} outputs for {requests['count']} requests",
            hint=RUN_AGAIN,
        )
    return Run(
        folder=folder,
        label=str(data.get("label") or folder.name),
        plan=written if same else plan,
        requests=requests,
        sampling=data.get("sampling") or {},
        machine=data.get("machine") or {},
        command=str(data.get("command") or ""),
        outputs=outputs,
        other_plan=not same,
    )


def number(data: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, None for anything else."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def same_model(one: Run, other: Run) -> bool:
    """Return whether two runs are of one model."""
    return (one.plan.digest, one.plan.model) == (other.plan.digest, other.plan.model)


def interval(data: Mapping[str, Any], key: str) -> Interval | None:
    """Return a pair of finite numbers, None for anything else."""
    pair = data.get(key)
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    low, high = (number({"x": x}, "x") for x in pair)
    return None if low is None or high is None else Interval(low, high)


def loss_interval(data: Mapping[str, Any]) -> Interval | None:
    """Return the interval of a loss; None where it is of too few items to be one."""
    items = number(data, "loss_items" if "loss_items" in data else "items")
    return None if items is not None and items < FEW else interval(data, "loss_interval")


def read_json(path: Path) -> dict[str, Any]:
    """Read a versioned JSON object; raise `OutputError` for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"`{path}` cannot be read: {error}", hint=RUN_AGAIN) from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        found = data.get("version") if isinstance(data, dict) else type(data).__name__
        raise OutputError(
            f"`{path}` has version `{found}`, this Rheostat reads {VERSION}",
            hint="make it again with this Rheostat",
        )
    return data


def _plan(data: Any, path: Path) -> Plan:
    try:
        return Plan.from_json(data)
    except PlanError as error:
        raise OutputError(f"`{path}`: {error.message}", hint=error.hint) from error


def _read_outputs(folder: Path) -> dict[str, Output]:
    path = folder / "trace.jsonl"
    try:
        traces = {str(line.pop("id")): _trace(line) for line in _lines(path)}
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(
            f"`{path}` is damaged: a trace lacks or misspells {error}", hint=RUN_AGAIN
        ) from error
    path = folder / "outputs.jsonl"
    outputs: dict[str, Output] = {}
    for line in _lines(path):
        try:
            output = _output(line, traces)
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"`{path}` is damaged: an output lacks or misspells {error}",
                hint=RUN_AGAIN,
            ) from error
        if output.id in outputs:
            raise OutputError(f"`{path}` has request `{output.id}` twice", hint=RUN_AGAIN)
        outputs[output.id] = output
    return outputs


def _output(line: Mapping[str, Any], traces: Mapping[str, Trace]) -> Output:
    return Output(
        id=str(line["id"]),
        text=str(line["text"]),
        token_ids=tuple(line["token_ids"]),
        stop_reason=line["stop_reason"],
        cost=Cost.from_json(line["cost"]),
        trace=traces.get(str(line["id"]), Trace()),
    )


def _trace(line: Mapping[str, Any]) -> Trace:
    lengths = {int(length): int(n) for length, n in line.get("lengths", {}).items()}
    return Trace(**{**line, "lengths": lengths})


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a file's lines; a last line cut off in mid-write is one that was never finished."""
    if not path.is_file():
        return
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise OutputError(f"`{path}` cannot be read: {error}", hint=RUN_AGAIN) from error
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except ValueError as error:
            if at == len(lines):
                return
            raise OutputError(f"`{path}` line {at} is not JSON: {error}", hint=RUN_AGAIN) from error
        if not isinstance(data, dict):
            raise OutputError(f"`{path}` line {at} is not a JSON object", hint=RUN_AGAIN)
        yield data
