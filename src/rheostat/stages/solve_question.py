"""One question while it is solved: its policy's state, its samples in launch order, its account.

The policy is told of samples in the order of their launch, whatever order they end in, so what it
decides cannot depend on the race.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, final

from rheostat.engines.sampler import Draw
from rheostat.errors import MethodError
from rheostat.kernel.allocation import QuestionView
from rheostat.kernel.samples import (
    Cancel,
    Closed,
    Ended,
    Finish,
    Launch,
    Lost,
    Opened,
    SampleStart,
    Score,
    Scored,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rheostat.engines.base import Request, Sampling
    from rheostat.kernel.ledger import Ledger
    from rheostat.kernel.samples import CloseReason, SampleAction, SampleEvent, SamplePolicy

Outcome = Ended | Lost


class Asked(NamedTuple):
    """A draw that a policy wishes for."""

    temperature: float | None


@dataclass(frozen=True)
class Told:
    """A sample's end as the driver knows it."""

    outcome: Outcome
    score: float | None = None
    """What the verifier said; None = it was not asked."""


@final
@dataclass(kw_only=True)
class Question:
    """A question of the run."""

    request: Request
    sampling: Sampling
    """The plan's; a launch may change the temperature."""
    policy: SamplePolicy
    start: SampleStart
    account: Ledger
    features: tuple[float, ...]
    finish: Finish | None = None
    epoch: int = 0
    """In which epoch it was finished."""
    cancels: bool = True
    """Whether running samples may be ended early."""
    launched: int = 0
    wishes: deque[Asked] = field(default_factory=deque)
    running: dict[int, Draw] = field(default_factory=dict)
    to_cancel: list[Draw] = field(default_factory=list)
    seen: list[Outcome] = field(default_factory=list)
    """In launch order: what the policy was told."""
    _ended: dict[int, Told] = field(default_factory=dict)
    _scores: dict[int, float] = field(default_factory=dict)
    _state: object = None

    def open(self) -> None:
        """Begin."""
        self._state = self.policy.start(self.start)
        self._tell(Opened())

    def view(self, bound: float) -> QuestionView:
        """Return what an allocation sees of it."""
        return QuestionView(
            id=self.request.id,
            seen=tuple(self.seen),
            wanted=len(self.wishes),
            samples=self.start.samples,
            bound=bound,
            features=self.features,
            verifier=self.start.verifier,
        )

    def first_draw(self) -> Draw:
        """Return a draw of the question as the plan has it."""
        return self._draw(None)

    def next_draw(self) -> Draw:
        """Return the next draw that it wishes for, without taking it."""
        return self._draw(self.wishes[0].temperature)

    def take(self) -> Draw:
        """Take the next draw: it is about to be launched."""
        draw = self.next_draw()
        self.wishes.popleft()
        self.launched += 1
        self.running[draw.index] = draw
        return draw

    def ended(self, told: Told) -> None:
        """Take in a sample's end, and tell the policy all whose turn has come."""
        self._ended[told.outcome.index] = told
        self.running.pop(told.outcome.index, None)
        while self.finish is None and len(self.seen) in self._ended:
            next_one = self._ended.pop(len(self.seen))
            self.seen.append(next_one.outcome)
            if next_one.score is not None:
                self._scores[next_one.outcome.index] = next_one.score
            self._tell(next_one.outcome)

    def close(self, reason: CloseReason) -> None:
        """Let the policy answer with what it has."""
        if self.finish is None:
            self._tell(Closed(reason=reason))
            assert self.finish is not None

    @property
    def unseen(self) -> Iterable[Told]:
        """Samples that ended after the answer was settled, or behind one that still runs."""
        return self._ended.values()

    def _tell(self, event: SampleEvent) -> None:
        events = deque([event])
        while events and self.finish is None:
            self._state, actions = self.policy.step(self._state, events.popleft())
            for action in actions:
                answer = self._execute(action)
                if answer is not None:
                    events.append(answer)

    def _execute(self, action: SampleAction) -> SampleEvent | None:
        """Do what the policy asks; return the event that answers it at once, if one does."""
        match action:
            case Launch(count=count, temperature=temperature, pauses=()):
                room = self.start.samples - self.launched - len(self.wishes)
                self.wishes.extend([Asked(temperature)] * min(count, room))
            case Cancel(indices=indices):
                self._cancel(indices)
            case Score(index=index):
                if index not in self._scores:
                    return Lost(index=index, reason="failed")
                return Scored(index=index, score=self._scores[index])
            case Finish():
                self.finish = action
                self.wishes.clear()
                self._cancel(list(self.running))
            case _:
                raise MethodError(
                    f"the policy asks for `{type(action).__name__}`, which this sampler "
                    "does not do",
                    hint="choose another method of the `sample` seam with `--rule`",
                )
        return None

    def _draw(self, temperature: float | None) -> Draw:
        sampling = self.sampling
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        return Draw(
            question=self.request.id, index=self.launched, request=self.request, sampling=sampling
        )

    def _cancel(self, indices: Iterable[int]) -> None:
        if self.cancels:
            self.to_cancel += [self.running[i] for i in indices if i in self.running]
