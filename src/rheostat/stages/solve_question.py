"""One question while it is solved: its policy's state, its samples in launch order, its account.

The policy is told of samples in the order of their launch, whatever order they end in, so what it
decides cannot depend on the race.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, final

from rheostat.engines.sampler import Draw
from rheostat.kernel.allocation import QuestionView
from rheostat.kernel.samples import (
    Cancel,
    Closed,
    Compare,
    Ended,
    Finish,
    Launch,
    Lost,
    Opened,
    Paused,
    Probe,
    Resume,
    SampleStart,
    Score,
    Scored,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rheostat.engines.base import Request, Sampling
    from rheostat.engines.sampler import Held
    from rheostat.kernel.ledger import Ledger
    from rheostat.kernel.samples import CloseReason, SampleAction, SampleEvent, SamplePolicy

Outcome = Ended | Lost


class Asked(NamedTuple):
    """A draw that a policy wishes for."""

    temperature: float | None
    pauses: tuple[int, ...] = ()


class Written(NamedTuple):
    """What is known of a sample's text: all of it, or what it had when it last waited."""

    token_ids: tuple[int, ...]
    text: str
    answer: str | None = None
    """None = it has not ended, or gave none."""


@dataclass(frozen=True)
class Told:
    """A sample's end as the driver knows it."""

    outcome: Outcome
    score: float | None = None
    """What the verifier said; None = it was not asked."""
    token_ids: tuple[int, ...] = ()


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
    """Whether running samples may be ended early; those that wait always may."""
    launched: int = 0
    wishes: deque[Asked] = field(default_factory=deque)
    running: dict[int, Draw] = field(default_factory=dict)
    held: dict[int, Draw] = field(default_factory=dict)
    """Samples that wait."""
    to_cancel: list[Draw] = field(default_factory=list)
    to_drop: list[Draw] = field(default_factory=list)
    """Samples that waited, and shall end."""
    to_resume: list[Draw] = field(default_factory=list)
    asks: deque[Probe | Compare] = field(default_factory=deque)
    """What the policy wants to know, in the order in which it asked."""
    readings: int = 0
    """Probes that were served."""
    written: dict[int, Written] = field(default_factory=dict)
    """Of samples that have ended or waited."""
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
        return self._draw(Asked(None))

    def next_draw(self) -> Draw:
        """Return the next draw that it wishes for, without taking it."""
        return self._draw(self.wishes[0])

    def take(self) -> Draw:
        """Take the next draw: it is about to be launched."""
        draw = self.next_draw()
        self.wishes.popleft()
        self.launched += 1
        self.running[draw.index] = draw
        return draw

    def put_back(self, draw: Draw) -> None:
        """Take in that a draw it took was never launched: the question was answered before."""
        self.launched -= 1
        del self.running[draw.index]

    def ended(self, told: Told) -> None:
        """Take in a sample's end, and tell the policy all whose turn has come."""
        index = told.outcome.index
        self._ended[index] = told
        self.running.pop(index, None)
        self.held.pop(index, None)
        if isinstance(told.outcome, Ended):
            self.written[index] = Written(told.token_ids, told.outcome.text, told.outcome.answer)
        while self.finish is None and len(self.seen) in self._ended:
            next_one = self._ended.pop(len(self.seen))
            self.seen.append(next_one.outcome)
            if next_one.score is not None:
                self._scores[next_one.outcome.index] = next_one.score
            self._tell(next_one.outcome)

    def waits(self, held: Held) -> None:
        """Take in that a sample waits; the policy is told at once, as every one waits for it."""
        index = held.draw.index
        self.running.pop(index, None)
        if self.finish is not None:
            self.to_drop.append(held.draw)
            return
        self.held[index] = held.draw
        self.written[index] = Written(held.token_ids, held.text)
        self._tell(Paused(index=index, tokens=held.tokens, logprobs=held.logprobs))

    def answered(self, event: SampleEvent) -> None:
        """Take in the answer to what the policy asked."""
        self._tell(event)

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
            case Launch(count=count, temperature=temperature, pauses=pauses):
                room = self.start.samples - self.launched - len(self.wishes)
                self.wishes.extend([Asked(temperature, pauses)] * min(count, room))
            case Cancel(indices=indices):
                self._cancel(indices)
            case Resume(indices=indices):
                resumed = {i: self.held.pop(i) for i in indices if i in self.held}
                self.running |= resumed
                self.to_resume += resumed.values()
            case Probe() | Compare():
                self.asks.append(action)
            case Score(index=index):
                if index not in self._scores:
                    return Lost(index=index, reason="failed")
                return Scored(index=index, score=self._scores[index])
            case Finish():
                self.finish = action
                self.wishes.clear()
                self.asks.clear()
                self._cancel([*self.running, *self.held])
        return None

    def _draw(self, asked: Asked) -> Draw:
        sampling = self.sampling
        if asked.temperature is not None:
            sampling = replace(sampling, temperature=asked.temperature)
        return Draw(
            question=self.request.id,
            index=self.launched,
            request=self.request,
            sampling=sampling,
            pauses=asked.pauses,
        )

    def _cancel(self, indices: Iterable[int]) -> None:
        for i in indices:
            if i in self.held:
                self.to_drop.append(self.held.pop(i))
            elif self.cancels and i in self.running:
                self.to_cancel.append(self.running[i])
