"""Recorded questions: every sample as a rule is told of it, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.samples import Ended
from rheostat.workloads.parts import from_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Request
    from rheostat.engines.sample_store import StoredSample
    from rheostat.workloads.tasks import Tasks


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One question with all its samples."""

    id: str
    """Task and question."""
    task: str
    text: str
    """The question."""
    ended: tuple[Ended, ...]
    """As a policy is told of them."""
    right: tuple[bool, ...]
    """All False where nobody knows what is right."""
    samples: tuple[StoredSample, ...]
    besides: tuple[tuple[str | None, bool], ...] = ()
    """Answers that other samples gave, and whether they are right."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """New tokens of each sample."""
        return tuple(sample.tokens for sample in self.ended)

    def right_answer(self, answer: str | None) -> bool:
        """Return whether an answer that a sample gave is right."""
        own = zip((sample.answer for sample in self.ended), self.right, strict=True)
        return any(right for given, right in (*own, *self.besides) if given == answer is not None)


def recorded_question(
    name: str, tasks: Tasks, item: Request, samples: Sequence[StoredSample]
) -> Recorded:
    """Return a question of tasks of such a name with its samples."""
    return Recorded(
        id=f"{name}: {item.id}",
        task=name,
        text=from_request(item).key,
        ended=tuple(_ended(sample) for sample in samples),
        right=tuple(bool(tasks.correct(item, sample.answer)) for sample in samples),
        samples=tuple(samples),
    )


def _ended(sample: StoredSample) -> Ended:
    nats = sample.logprobs
    return Ended(
        index=sample.index,
        answer=sample.answer,
        tokens=sample.cost.new_tokens,
        text=sample.text,
        logprob=sum(nats) / len(nats) if nats else None,
        logprobs=nats,
    )
