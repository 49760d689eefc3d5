"""`rheostat.plan_samples`: the cheapest way to solve questions by samples that keeps the answers.

import rheostat

plan = rheostat.plan_samples("smollm2", "tasks.jsonl", max_loss=0.02, store="recorded")
rheostat.solve("smollm2", "others.jsonl", plan=plan, out="solved")
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from rheostat.engines.base import Sampling
from rheostat.engines.load import DTYPES
from rheostat.engines.load_sampler import load_sampler
from rheostat.engines.notice import Notice
from rheostat.engines.replay import PREFIX
from rheostat.errors import PlanError
from rheostat.kernel.seams import Installed
from rheostat.methods.model.precision import checked_formats
from rheostat.stages.plan_samples import check_tasks, checked_samples_goal
from rheostat.stages.plan_samples import plan_samples as planned
from rheostat.stages.record import record
from rheostat.stages.recordings import is_recording
from rheostat.stages.solve import TEMPERATURE
from rheostat.workloads.tasks import load_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.kernel.plan import Plan
    from rheostat.stages.goal import SolveLoss
    from rheostat.stages.plan_samples import SamplesGoal

__all__ = ["PlanSamplesOptions", "plan_samples"]

ENDING = ".samples"
"""A plan's recordings lie in a folder beside it, under its name and this ending."""
SAMPLES = 16


class PlanSamplesOptions(TypedDict, total=False):
    """How `plan_samples` draws and chooses; defaults as on the command."""

    loss: SolveLoss
    """`wrong`: right answers less than the base has; `other`: answers other than the base's."""
    confidence: float | None
    """Of a certificate that the mean loss is at most `max_loss` on questions like these."""
    seed: int
    """Of the samples, and of the order of the questions."""
    samples: int
    """Of each question, to record; 16."""
    precisions: tuple[str, ...]
    """Number formats that the plan may choose beside the base's: `gguf` and `bfloat16`."""
    dtype: str
    """The base's number format; float32."""
    threads: int
    device: str
    """As for `rheostat.load`."""
    sampling: Mapping[str, Any]
    """Fields of `rheostat.Sampling`; temperature 0.7."""
    command: str
    progress: Callable[[str], None] | None


def plan_samples(
    model: str | Path | Sequence[str],
    tasks: str | Path | None = None,
    *,
    max_loss: float | None = None,
    store: str | Path | None = None,
    **options: Unpack[PlanSamplesOptions],
) -> Plan:
    """Find the cheapest number format, rule, dial and most samples that keep a loss.

    The base is the majority of all samples in the base's number format. A plan is searched on some
    of the questions and shown, or certified, on the others; `solve` runs it.

    Args:
        model: a model's name or path, whose samples are recorded first; or recordings of the same
            questions, `replay:STORE` each, one a number format and the base's first.
        tasks: a .jsonl file or a `gym:` name; None for recordings, which hold their questions.
        max_loss: the largest mean loss; of `wrong`, 0.02 are two right answers in a hundred.
        store: the folder of what is recorded, one within it a number format; the same call goes on
            there.
        **options: see `PlanSamplesOptions`.

    Raises:
        PlanError: no or a bad limit, options that do not fit, or too little data for a certificate.
        ModelError, WorkloadError, OutputError, UserError: as for `load`, `solve` and recordings.
    """
    names = [str(model)] if isinstance(model, str | Path) else list(model)
    goal = checked_samples_goal(
        max_loss=max_loss, loss=options.get("loss"), confidence=options.get("confidence")
    )
    if all(map(is_recording, names)):
        _refuse_drawing(tasks, options)
    else:
        names = _recorded(names, tasks, store, goal, options)
    return planned(names, goal, seed=options.get("seed", 0), progress=options.get("progress"))


def _refuse_drawing(tasks: str | Path | None, options: PlanSamplesOptions) -> None:
    """Refuse what says how samples are drawn, where they were."""
    drawing = {
        "--tasks": tasks,
        "--samples": options.get("samples"),
        "--precision": options.get("precisions"),
        "--dtype": options.get("dtype"),
        "--device": options.get("device"),
        "--temperature or --max-new-tokens": options.get("sampling"),
    }
    for name, value in drawing.items():
        if value:
            raise PlanError(
                f"`{name}` says how samples are drawn, and recordings hold samples that were",
                hint="leave it out; give one recording for each number format",
            )


def _recorded(
    names: Sequence[str],
    tasks: str | Path | None,
    store: str | Path | None,
    goal: SamplesGoal,
    options: PlanSamplesOptions,
) -> list[str]:
    """Record what is missing, a number format at a time; return the recordings."""
    if len(names) > 1:
        raise PlanError(
            f"samples are recorded of one model, and {len(names)} are named: {', '.join(names)}",
            hint="name one model, or recordings alone: `replay:STORE` each",
        )
    if tasks is None or store is None:
        raise PlanError(
            "samples are recorded of tasks, into a folder, and one of the two is missing",
            hint="give tasks and a store, or name recordings: `replay:STORE` each",
        )
    base = options.get("dtype", DTYPES[0])
    formats = dict.fromkeys((base, *checked_formats(options.get("precisions", ()))))
    asked, say = load_tasks(str(tasks)), options.get("progress")
    check_tasks(asked, goal)
    fields = {"temperature": TEMPERATURE, "seed": options.get("seed", 0)}
    made = []
    for dtype in formats:
        told = None if say is None else partial(_in_format, say, dtype)
        loaded = load_sampler(
            names[0],
            install=lambda *_: Installed(),
            dtype=dtype,
            threads=options.get("threads"),
            device=options.get("device"),
            progress=told,
        )
        if len(formats) > 1 and loaded.dtype != dtype:
            loaded.sampler.close()
            raise PlanError(
                f"`{names[0]}` draws in `{loaded.dtype}` alone, and {' and '.join(formats)} are "
                "asked for",
                hint="leave `--precision` out",
            )
        folder = Path(store) / dtype
        record(
            loaded,
            asked,
            folder,
            samples=options.get("samples", SAMPLES),
            sampling=Sampling(**{**fields, **options.get("sampling", {})}),
            command=options.get("command", ""),
            progress=told,
        )
        made.append(f"{PREFIX}{folder}")
    return made


def _in_format(say: Callable[[str], None], dtype: str, text: str) -> None:
    said = f"{dtype}: {text}"
    say(Notice(said) if isinstance(text, Notice) else said)
