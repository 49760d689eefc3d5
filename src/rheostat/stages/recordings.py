"""Recordings of the same questions, one a number format, read to plan on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat.engines.replay import PREFIX, Recording
from rheostat.errors import ModelError, PlanError, WorkloadError
from rheostat.stages.recorded import Recorded, recorded_question
from rheostat.stages.sample_costs import costs_of
from rheostat.stages.sample_folder import items_of
from rheostat.workloads.gym_tasks import PREFIX as GYM
from rheostat.workloads.load import in_mixed_order
from rheostat.workloads.parts import choose, distinct, from_request
from rheostat.workloads.tasks import load_tasks, tasks_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.engines.base import Request
    from rheostat.engines.sample_store import StoredSample
    from rheostat.stages.sample_costs import Floats, Unit
    from rheostat.workloads.parts import Item, Part
    from rheostat.workloads.tasks import Tasks

_PARTS: tuple[Part, Part] = ("calibration", "test")
_NAME = "tasks"
"""Of all tasks: where a file lies decides nothing."""
FEWEST = 8
"""Questions of either part, at the least."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """Questions in one number format."""

    dtype: str
    questions: tuple[Recorded, ...]
    costs: Mapping[Unit, Floats]
    """Of the first n samples, the prompt included, [questions, orders, samples + 1]."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a plan of samples is made from."""

    tasks: Tasks
    model: str
    digest: str
    machine: str
    """Where all of it was recorded; empty = in several places, or nobody knows."""
    sampling: Mapping[str, Any]
    """How the samples were drawn, without the seed."""
    samples: int
    """Of each question."""
    offers: frozenset[str]
    """What every recording offers to rules."""
    seed: int
    """Of the order of the questions."""
    requests: Mapping[Part, tuple[Request, ...]]
    """As `parts_of` tells them."""
    formats: Mapping[Part, tuple[Format, ...]]
    """The first is the base's."""

    @property
    def judged(self) -> bool:
        """Whether something says which answers are right."""
        return is_judged(self.tasks)

    @property
    def unit(self) -> Unit:
        """What costs are counted in: predicted seconds where every recording has them."""
        return "seconds" if "seconds" in self.formats["calibration"][0].costs else "tokens"


def is_judged(tasks: Tasks) -> bool:
    """Return whether something says which answers are right, of every question."""
    return all(tasks.correct(request, None) is not None for request in tasks.items)


def parts_of(tasks: Tasks, *, seed: int = 0) -> Mapping[Part, tuple[Request, ...]]:
    """Return the questions of the parts `calibration` and `test`, no two of the same text.

    A question falls in a part by a hash of its text, and the seed orders them, so that the order
    of the tasks' lines decides nothing.

    Raises:
        WorkloadError: a part has fewer than `FEWEST`.
    """
    items = in_mixed_order(distinct(map(from_request, tasks.items)), seed)
    calibration, test = (_part(items, part, tasks.name) for part in _PARTS)
    return {"calibration": calibration, "test": test}


def read_recordings(names: Sequence[str], *, seed: int = 0) -> Material:
    """Read recordings of the same questions, the base's first.

    Args:
        names: `replay:STORE` each.
        seed: orders the questions of each part.

    Raises:
        OutputError: a folder holds no recording.
        ModelError, PlanError: one is unfinished or of a single sample, or they do not fit together.
        WorkloadError: too few questions.
    """
    read = [_read(name) for name in names]
    for own in read[1:]:
        _refuse_others(read[0], own)
    formats = [own.dtype for own in read]
    twice = next((name for name in formats if formats.count(name) > 1), None)
    if twice is not None:
        raise PlanError(
            f"two of the recordings are in `{twice}`",
            hint="give one recording a number format, as `rheostat record --dtype` makes them",
        )
    return _material(read, seed)


@dataclass(frozen=True, kw_only=True)
class _Read:
    name: str
    header: Mapping[str, Any]
    tasks: Tasks
    samples: Mapping[str, Sequence[StoredSample]]
    """By question."""
    offers: frozenset[str]

    @property
    def dtype(self) -> str:
        return str(self.header["dtype"])


def _read(name: str) -> _Read:
    """Read a finished recording."""
    recording = Recording(Path(name.removeprefix(PREFIX)))
    with closing(recording):
        header = recording.header
        if header.get("kind") != "recording":
            raise PlanError(
                f"`{name}` holds a run of `solve`, whose rule chose what was drawn",
                hint="make a recording: `rheostat record MODEL --tasks T --out STORE`",
            )
        items = items_of(header)
        asked, held = recording.samples, len(recording.store.known)
        if held < asked * len(items):
            raise ModelError(
                f"`{name}` is unfinished: {held} of {asked * len(items)} samples are recorded",
                hint="the same `rheostat record` command goes on from there",
            )
        if asked < 2:
            raise PlanError(
                f"`{name}` holds 1 sample of each question: there is nothing to choose",
                hint="record more into another folder, such as `--samples 16`",
            )
        by_question: dict[str, list[StoredSample]] = {}
        for sample in recording.store.all():
            by_question.setdefault(sample.question, []).append(sample)
        return _Read(
            name=name,
            header=header,
            tasks=_tasks(header, items),
            samples=by_question,
            offers=recording.card.offers,
        )


def _tasks(header: Mapping[str, Any], items: Sequence[Request]) -> Tasks:
    """Return the tasks with what judges their answers."""
    name = str(header["tasks"]["name"])
    judge = None
    if name.startswith(GYM):
        made = load_tasks(name)
        # another version of the package may ask other questions: then references judge alone
        judge = made.right if made.digest == header["tasks"]["digest"] else None
    return tasks_of(name, items, right=judge)


def _refuse_others(base: _Read, own: _Read) -> None:
    """Raise `PlanError` where two recordings are not of the same questions, model and sampling."""
    for what, first, second in (
        ("questions", base.header["tasks"]["digest"], own.header["tasks"]["digest"]),
        ("models", _model(base.header), _model(own.header)),
        ("samples a question", base.header["samples"], own.header["samples"]),
        ("sampling options", base.header["sampling"], own.header["sampling"]),
    ):
        if first != second:
            raise PlanError(
                f"`{base.name}` and `{own.name}` are of different {what}",
                hint="record the same tasks in the same way, one store a number format; questions "
                "of several kinds may stand in one .jsonl file",
            )


def _model(header: Mapping[str, Any]) -> str:
    return str(header.get("digest") or header["model"])


def _material(read: Sequence[_Read], seed: int) -> Material:
    base = read[0]
    parts = parts_of(base.tasks, seed=seed)
    kept = [request for part in parts.values() for request in part]
    size = len(parts["calibration"])
    formats = _in_one_unit([_format(own, kept) for own in read])
    places = {own.header.get("machine", "") for own in read}
    return Material(
        tasks=base.tasks,
        model=str(base.header["model"]),
        digest=str(base.header.get("digest", "")),
        machine=places.pop() if len(places) == 1 else "",
        sampling={k: v for k, v in base.header["sampling"].items() if k != "seed"},
        samples=int(base.header["samples"]),
        offers=frozenset.intersection(*(own.offers for own in read)),
        seed=seed,
        requests=parts,
        formats={
            "calibration": tuple(_cut(own, slice(0, size)) for own in formats),
            "test": tuple(_cut(own, slice(size, None)) for own in formats),
        },
    )


def _part(items: tuple[Item, ...], part: Part, name: str) -> tuple[Request, ...]:
    found = choose(items, part, subject=name)
    if len(found) < FEWEST:
        raise WorkloadError(
            f"`{name}` has too few questions: {len(found)} of its {len(items)} fall in the {part} "
            f"part, and a plan takes at least {FEWEST} in each",
            hint="record 40 questions or more",
        )
    return tuple(item.request for item in found)


def _format(own: _Read, requests: Sequence[Request]) -> Format:
    questions = tuple(
        recorded_question(_NAME, own.tasks, request, own.samples[request.id])
        for request in requests
    )
    return Format(dtype=own.dtype, questions=questions, costs=costs_of(questions))


def _in_one_unit(formats: Sequence[Format]) -> list[Format]:
    """Leave seconds out where some recording has none."""
    units = set.intersection(*(set(own.costs) for own in formats))
    return [
        replace(own, costs={u: costs for u, costs in own.costs.items() if u in units})
        for own in formats
    ]


def _cut(own: Format, part: slice) -> Format:
    return Format(
        dtype=own.dtype,
        questions=own.questions[part],
        costs={unit: costs[part] for unit, costs in own.costs.items()},
    )


def is_recording(name: str) -> bool:
    """Return whether a model's name is that of a recording."""
    return name.startswith(PREFIX)
