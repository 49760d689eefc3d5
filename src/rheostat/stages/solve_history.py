"""What a folder of `solve` tells afterwards: its answers, and its samples in launch order."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rheostat.engines.sample_store import SampleStore
from rheostat.errors import OutputError
from rheostat.stages.durable_files import json_lines
from rheostat.stages.solve_answers import ANSWERS, SOLVE
from rheostat.workloads.answers import AnswerKind, answer_class, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rheostat.engines.sample_store import StoredSample

AGAIN = "finish it: the same `rheostat solve` with the same `--out` goes on"


class Point(NamedTuple):
    """A moment of a run: after a sample."""

    tokens: int
    """Of all questions so far."""
    question: str
    answered: bool
    """Whether the sample gave an answer."""
    right: bool | None
    """Whether it is right; None = nobody knows."""
    share_right: float
    """Share of the questions whose majority so far is right."""


@dataclass(frozen=True, kw_only=True)
class History:
    """One finished run."""

    label: str
    summary: Mapping[str, Any]
    header: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]
    points: Sequence[Point]

    @property
    def rule(self) -> str:
        """The rule and its dial."""
        methods = self.header["plan"]["methods"]
        return " + ".join(f"{m['name']} at {m['dial']:g}" for m in methods)

    @property
    def correct(self) -> list[float]:
        """1 or 0 for every question with a reference."""
        return [float(a["correct"]) for a in self.answers if a["correct"] is not None]


def is_solved(folder: Path) -> bool:
    """Return whether a folder is one of `solve` that came to its end."""
    return (folder / SOLVE).is_file()


def read_history(folder: Path) -> History:
    """Read a folder.

    Raises:
        OutputError: it is unfinished, damaged, or of something else.
    """
    if not is_solved(folder):
        raise OutputError(f"`{folder}` is no finished run of `solve`", hint=AGAIN)
    try:
        summary = json.loads((folder / SOLVE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"`{folder / SOLVE}` cannot be read: {error}", hint=AGAIN) from error
    store = SampleStore(folder, create=False)
    header = store.header
    if header is None:
        raise OutputError(f"`{store.path}` is of no run", hint=AGAIN)
    held = {(sample.question, sample.index): sample for sample in store.all()}
    ordered = [held[key] for key in store.order() if key in held]
    store.close()
    return History(
        label=folder.resolve().name,
        summary=summary,
        header=header,
        answers=json_lines(folder / ANSWERS),
        points=_points(ordered, header["tasks"]["items"]),
    )


def _points(samples: Sequence[StoredSample], items: Sequence[Mapping[str, Any]]) -> list[Point]:
    references = {str(item["id"]): item.get("reference") for item in items}
    kind = kind_of(references.values())
    wanted = {name: _wanted(text, kind) for name, text in references.items()}
    judged = sum(answer is not None for answer in wanted.values())
    votes: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    right: dict[str, bool] = {}
    tokens, points = 0, []
    for sample in samples:
        tokens += sample.cost.tokens
        name, answer = sample.question, sample.answer
        if answer is not None:
            votes[name][answer] += 1
            right[name] = votes[name].most_common(1)[0][0] == wanted[name]
        points.append(
            Point(
                tokens=tokens,
                question=name,
                answered=answer is not None,
                right=None if wanted[name] is None else answer == wanted[name],
                share_right=sum(right.values()) / judged if judged else 0.0,
            )
        )
    return points


def _wanted(reference: str | None, kind: AnswerKind) -> str | None:
    return None if reference is None else answer_class(reference, kind)


def same_questions(histories: Sequence[History]) -> None:
    """Raise `OutputError` unless all runs answered the same tasks."""
    first = histories[0]
    for other in histories[1:]:
        if other.header["tasks"]["digest"] != first.header["tasks"]["digest"]:
            raise OutputError(
                f"`{other.label}` and `{first.label}` answered different tasks",
                hint="give runs of one and the same tasks, or make a report of each",
            )
