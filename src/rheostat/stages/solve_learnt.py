"""What earlier samples teach an allocation: those of a recording, or of another run, with verdicts.

A sample's verdict is what a verifier said then, else whether it has the answer of the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.engines.sample_store import SampleStore
from rheostat.errors import UserError
from rheostat.kernel.allocation import QuestionView
from rheostat.kernel.policies.success_model import examples
from rheostat.kernel.policies.task_features import request_features
from rheostat.kernel.samples import Ended
from rheostat.stages.sample_folder import items_of
from rheostat.workloads.tasks import tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rheostat.engines.base import Request
    from rheostat.engines.sample_store import StoredSample
    from rheostat.kernel.policies.success_model import Examples
    from rheostat.workloads.tasks import Tasks

ORDERS = 4
"""Orders in which the samples of a recording are looked at."""


def learnt_from(folder: Path) -> Examples:
    """Return the samples of a store as examples of what is right.

    Args:
        folder: of `record` or `solve`; it is not written to.

    Raises:
        OutputError: there is no such store.
        UserError: nothing in it says which samples were right.
    """
    store = SampleStore(folder, create=False)
    try:
        header = store.header or {}
        items = items_of(header)
        by_question: dict[str, list[StoredSample]] = {}
        for sample in store.all():
            by_question.setdefault(sample.question, []).append(sample)
    finally:
        store.close()
    tasks = tasks_of(str(folder), items)
    views = [_view(tasks, item, by_question.get(item.id, ())) for item in items]
    orders = ORDERS if header.get("kind") == "recording" else 1
    found = examples([view for view in views if view.seen], orders)
    if not len(found.right):
        raise UserError(
            f"nothing can be learnt from `{folder}`: it does not say which samples are right",
            hint="record tasks with references, or name a run of `solve` with a verifier",
        )
    return found


def _view(tasks: Tasks, item: Request, samples: Iterable[StoredSample]) -> QuestionView:
    seen = []
    for sample in samples:
        right = tasks.correct(item, sample.answer)
        if sample.verified is not None:
            right = sample.verified >= 1
        if right is None:
            break
        nats = sample.logprobs
        seen.append(
            Ended(
                index=sample.index,
                answer=sample.answer,
                tokens=sample.cost.new_tokens,
                logprob=sum(nats) / len(nats) if nats else None,
                verified=right,
            )
        )
    return QuestionView(
        id=item.id,
        seen=tuple(seen),
        wanted=0,
        samples=max(len(seen), 1),
        bound=0.0,
        features=request_features(item.prompt, item.messages),
        verifier=True,
    )
