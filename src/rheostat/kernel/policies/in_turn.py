"""Round robin: each question gets a sample in turn while the budget has room. The baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rheostat.kernel.allocation import Epoch, Grant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.allocation import QuestionView


@final
@dataclass(frozen=True, kw_only=True)
class InTurn:
    """Questions with the fewest samples come first, those of equal number in the tasks' order."""

    each: int | None = None
    """Most samples of a question, an equal split; None = what its policy wishes."""

    def epoch(
        self,
        questions: Sequence[QuestionView],
        left: float,
        width: int,
        finished: Sequence[QuestionView] = (),
    ) -> Epoch:
        """Grant one sample a question, to as many as fit."""
        ready = [q for q in questions if self.each is None or len(q.seen) < self.each]
        granted: list[Grant] = []
        for question in sorted(ready, key=lambda q: len(q.seen)):
            if len(granted) < width and question.bound <= left:
                left -= question.bound
                granted.append(Grant(question.id, 1))
        return Epoch(tuple(granted))
