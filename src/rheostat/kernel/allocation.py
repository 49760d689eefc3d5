"""Allocation of one budget across questions, in epochs: the question, and what crosses it.

An epoch grants some of the samples that the questions' policies wish for; the next one begins when
all of them have ended. Its decisions depend on what was seen in launch order, so that they are
the same however the samples raced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.samples import Ended, Lost


@dataclass(frozen=True, kw_only=True)
class QuestionView:
    """What an allocation sees of a question."""

    id: str
    seen: tuple[Ended | Lost, ...]
    """Its samples so far, in launch order; an epoch begins when all of the last one have ended."""
    wanted: int
    """Samples that its policy wishes to launch now: at least 1, and 0 when it is finished."""
    samples: int
    """N: the most that the plan draws for it."""
    bound: float
    """What a sample costs at most, in the budget's unit (tokens, unless the budget has none)."""
    features: tuple[float, ...] = ()
    """Numbers known of the task before any sample, such as its length; one length a run."""
    verifier: bool = False


class Grant(NamedTuple):
    """Samples that a question may launch now: 1..its wish."""

    question: str
    samples: int


class Epoch(NamedTuple):
    """What is done until the next look: grants in the order of their launch; questions to close.

    A question that is closed is told `Closed("cannot_help")`. Nothing granted and nothing closed
    ends the run: the budget has no room for what is left.
    """

    grants: tuple[Grant, ...]
    closed: tuple[str, ...] = ()


class Allocation(Protocol):
    """Divides one budget among questions: a function of what was seen in launch order."""

    def epoch(
        self,
        questions: Sequence[QuestionView],
        left: float,
        width: int,
        finished: Sequence[QuestionView] = (),
    ) -> Epoch:
        """Return the next epoch.

        Args:
            questions: those not finished, in the order of the tasks; their wishes are open.
            left: what is left of the budget, in the unit of the bounds.
            width: samples that can run side by side: an epoch grants at most so many.
            finished: the others, in the order of the tasks, to learn from.
        """
