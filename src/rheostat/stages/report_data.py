"""Puts run folders side by side: which is the base, what may be compared, what to warn of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rheostat.errors import OutputError
from rheostat.stages.intervals import FEW
from rheostat.stages.report_files import MAKE_A_RUN, Run, read_json, read_run, same_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a report shows."""

    runs: tuple[Run, ...]
    """The base first."""
    ids: tuple[str, ...]
    """The requests that every run has finished, in input order: only these are compared."""
    profile: Mapping[str, Any] | None
    notices: tuple[str, ...]
    """What a reader must know before believing the figures."""


def read_material(folders: Sequence[Path]) -> Material:
    """Read the folders; the base is the first whose plan has no methods, else the first."""
    if not folders:
        raise OutputError("a report needs at least one run folder", hint=MAKE_A_RUN)
    if len({f.resolve() for f in folders}) < len(folders):
        raise OutputError("a run folder was given twice", hint="name each folder once")
    runs = _uniquely_labelled([read_run(f) for f in folders])
    base = next((r for r in runs if not r.plan.methods), runs[0])
    runs = [base, *(r for r in runs if r is not base)]
    _refuse_other_requests(runs)
    ids = tuple(i for i in base.outputs if all(i in r.outputs for r in runs))
    if not ids:
        raise OutputError(
            "the runs have no finished request in common: "
            + ", ".join(f"`{r.label}` has {len(r.outputs)}" for r in runs),
            hint="let the runs finish: the same command with the same `--out` resumes",
        )
    profile, notices = _profile_for(runs)
    return Material(
        runs=tuple(runs),
        ids=ids,
        profile=profile,
        notices=(*_notices(runs, len(ids)), *notices),
    )


def _uniquely_labelled(runs: Sequence[Run]) -> list[Run]:
    seen = Counter(run.label for run in runs)
    named = [
        replace(run, label=f"{run.label} ({run.folder.name})") if seen[run.label] > 1 else run
        for run in runs
    ]
    seen = Counter(run.label for run in named)
    return [
        replace(run, label=f"{run.label} #{at}") if seen[run.label] > 1 else run
        for at, run in enumerate(named, start=1)
    ]


def _refuse_other_requests(runs: Sequence[Run]) -> None:
    base = runs[0]
    for run in runs[1:]:
        if run.requests.get("digest") != base.requests.get("digest"):
            raise OutputError(
                f"`{run.label}` and `{base.label}` answered different requests: "
                f"`{run.requests.get('path')}` and `{base.requests.get('path')}` differ in content",
                hint="give runs of one and the same file of requests, or make a report of each",
            )


def _profile_for(runs: Sequence[Run]) -> tuple[Mapping[str, Any] | None, list[str]]:
    """Return the first profile beside the runs that is of their model, and what to warn of."""
    places = dict.fromkeys(place for run in runs for place in (run.folder, run.folder.parent))
    digest = runs[0].plan.digest
    notices: list[str] = []
    for path in (place / "profile.json" for place in places):
        if not path.is_file():
            continue
        profile = read_json(path)
        if not digest or profile.get("digest") == digest:
            return profile, notices
        notices.append(f"{path} is the profile of another model, so it is not shown.")
    return None, notices


def _notices(runs: Sequence[Run], compared: int) -> Iterator[str]:
    for run in runs:
        done, count = len(run.outputs), run.requests["count"]
        if done < count:
            yield f"{run.label} is unfinished: {done} of {count} requests have an output."
    if any(len(run.outputs) > compared for run in runs):
        yield f"All figures are of the {_requests(compared)} that every run has finished."
    if compared < FEW and len(runs) > 1:
        yield f"Only {_requests(compared)}: take every comparison as rough."
    for run in runs[1:]:
        yield from _differences(run, runs[0])
    for run in runs:
        yield from _own_notices(run)


def _differences(run: Run, base: Run) -> Iterator[str]:
    pair = f"{run.label} and {base.label}"
    if not same_model(run, base):
        yield f"{pair} ran different models ({run.plan.model}, {base.plan.model})."
    if run.plan.dtype != base.plan.dtype:
        yield f"{pair} ran in different number formats ({run.plan.dtype}, {base.plan.dtype})."
    if run.sampling != base.sampling:
        yield f"{pair} ran with different sampling, so their answers may differ for that reason."
    if run.machine != base.machine:
        yield f"{pair} ran on different machines or versions: their seconds do not compare."


def _own_notices(run: Run) -> Iterator[str]:
    here = run.machine.get("name")
    if run.plan.machine and here and run.plan.machine != here:
        yield (
            f"{run.label} was planned on {run.plan.machine} and ran on {here}: "
            "its claim of cost is void here."
        )
    if run.other_plan:
        yield f"plan.json in {run.folder} is not the plan that was run; shown is what was run."
    if run.sampling.get("temperature"):
        yield (
            f"{run.label} drew its answers at temperature {run.sampling['temperature']}: "
            "a lossless plan keeps their distribution, not each token."
        )


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
