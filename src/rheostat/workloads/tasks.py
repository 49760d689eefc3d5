"""Questions that are to be answered: from reasoning-gym by a `gym:` name, or a JSONL file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.errors import WorkloadError
from rheostat.workloads.answers import AnswerKind, answer_class, answer_in, kind_of
from rheostat.workloads.gym_tasks import PREFIX, gym_tasks
from rheostat.workloads.items import load_requests
from rheostat.workloads.load import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import Request


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """A set of questions, with what is needed to read and judge answers."""

    name: str
    """As the user asked for them."""
    digest: str
    """SHA-256 over the canonical lines of `items`."""
    items: tuple[Request, ...]
    kind: AnswerKind
    """How answers are found and compared."""
    right: Callable[[str, str], bool] | None = None
    """The tasks' own judge, called with (id, answer); None = references alone judge."""

    def answer(self, text: str) -> str | None:
        """Return the class of the answer that a sample's text gives; None = it gives none."""
        return answer_in(text, self.kind)

    def correct(self, request: Request, answer: str | None) -> bool | None:
        """Return whether an answer is right; None = nobody knows. No answer is wrong."""
        if request.reference is None and self.right is None:
            return None
        if answer is None:
            return False
        reference = request.reference
        if reference is not None and answer == answer_class(reference, self.kind):
            return True
        return self.right is not None and self.right(request.id, answer)


def load_tasks(text: str) -> Tasks:
    """Load tasks by a `gym:` name or the path of a `.jsonl` file.

    Raises:
        WorkloadError: the name, its settings or a line of the file is not one.
        UserError: a package that the tasks need is missing.
    """
    if text.startswith(PREFIX):
        made = gym_tasks(text)
        return tasks_of(text, made.items, right=made.right)
    if not text.endswith(".jsonl"):
        raise WorkloadError(
            f"`{text}` names no tasks",
            hint="give the path of a .jsonl file, or a task of reasoning-gym such as "
            "`gym:products?min_terms=2&max_terms=2&max_digits=1`",
        )
    return tasks_of(text, load_requests(text))


def tasks_of(
    name: str, items: Sequence[Request], *, right: Callable[[str, str], bool] | None = None
) -> Tasks:
    """Return requests as tasks."""
    kept = tuple(items)
    kind = kind_of(request.reference for request in kept)
    return Tasks(name=name, digest=digest_of(kept), items=kept, kind=kind, right=right)
