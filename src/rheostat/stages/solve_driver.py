"""The driver of `solve`: executes what policies ask for, charges it, and tells them what came.

Work goes in epochs. An allocation grants samples to questions; all of them are reserved in launch
order before any is launched, so that which of them fit the budget does not depend on which ends
first; the next epoch begins when they have ended. Where the sampler promises the same text for the
same draw, answers are then the same whatever the number of questions in flight.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, final

from rheostat.engines.sample_store import stored
from rheostat.engines.sampler import Held
from rheostat.errors import RheostatError
from rheostat.kernel.records import Refusal
from rheostat.kernel.samples import Ended, Lost
from rheostat.stages.solve_asks import Asks
from rheostat.stages.solve_question import Told
from rheostat.workloads.likeness import Likeness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rheostat.engines.journaled_sampler import JournaledSampler
    from rheostat.engines.sample_store import SampleStore, StoredSample
    from rheostat.engines.sampler import Draw, Drawn
    from rheostat.kernel.allocation import Allocation
    from rheostat.kernel.budget import CountedCap
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Ledger, Reservation
    from rheostat.kernel.samples import CloseReason, LostReason
    from rheostat.stages.solve_question import Question
    from rheostat.workloads.tasks import Tasks
    from rheostat.workloads.verifier import Verifier

_UNITS: tuple[CountedCap, ...] = ("tokens", "new_tokens", "usd", "price", "calls")
"""What an allocation divides: the first that the budget caps."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is done side by side."""

    width: int = 64
    """Samples of an epoch: twice the rows of a step, so that rows that end are refilled."""
    in_flight: int = 32
    """Questions whose samples run at the same time."""


class _Granted(NamedTuple):
    question: Question
    draw: Draw
    reservation: Reservation


@final
@dataclass(kw_only=True)
class Driver:
    """One run over many questions."""

    sampler: JournaledSampler
    store: SampleStore
    ledger: Ledger
    tasks: Tasks
    questions: Sequence[Question]
    allocation: Allocation
    limits: Limits
    verifier: Verifier | None = None
    clock: Callable[[], float] = time.monotonic
    watch: Callable[[], None] = field(default=lambda: None)
    """Called when something has ended."""
    failures: list[str] = field(default_factory=list)
    epochs: int = 0
    _began: float = 0.0
    _asks: Asks = field(init=False)

    def __post_init__(self) -> None:
        """Make what answers policies' questions."""
        judge = Likeness(self.tasks.answer)
        self._asks = Asks(sampler=self.sampler, store=self.store, judge=judge)

    def run(self) -> None:
        """Answer every question, or as much of it as the budget allows.

        Raises:
            WorkloadError: the verifier failed; all finished samples are in the store.
        """
        self._began = self.clock()
        for question in self.questions:
            question.open()
        while left := [question for question in self.questions if question.finish is None]:
            self.epochs += 1
            if self._late():
                self._close(left, "deadline")
            elif not self._epoch(left):
                self._close(left, "budget")

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._began

    def unit(self) -> CountedCap:
        """Return what is divided among the questions."""
        return next((u for u in _UNITS if not math.isinf(self.ledger.remaining(u))), "tokens")

    def _epoch(self, left: Sequence[Question]) -> bool:
        """Do one epoch; return whether anything was granted or closed."""
        unit, by_id = self.unit(), {question.request.id: question for question in left}
        wishing = [question for question in left if question.wishes]
        assert wishing, "a question is neither answered nor wishes for a sample"
        bounds = [float(getattr(self.sampler.bound(q.next_draw()), unit)) for q in wishing]
        views = [q.view(bound) for q, bound in zip(wishing, bounds, strict=True)]
        budget = self.ledger.remaining(unit)
        done = [q.view(0.0) for q in self.questions if q.finish is not None]
        epoch = self.allocation.epoch(views, budget, self.limits.width, done)
        for name in epoch.closed:
            by_id[name].close("cannot_help")
        granted: list[_Granted] = []
        for name, samples in epoch.grants:
            granted += self._reserved(by_id[name], samples)
        self._execute(granted)
        for question in left:
            if question.finish is not None:
                question.epoch = self.epochs
        return bool(epoch.closed or granted)

    def _reserved(self, question: Question, samples: int) -> list[_Granted]:
        """Reserve a question's grants, as many as fit."""
        granted = []
        for _ in range(min(samples, len(question.wishes))):
            draw = question.next_draw()
            reservation = self._reserve(question, draw, self.sampler.bound(draw))
            if reservation is None:
                if question.account.closed:  # its work took more than was reserved
                    question.close("budget")
                break
            question.take()
            if self.sampler.was_lost(draw):
                reservation.fail("lost with an earlier process")
                again = self._reserve(question, draw, self.sampler.fresh_bound(draw))
                if again is None:
                    question.ended(Told(Lost(index=draw.index, reason="budget")))
                    continue
                reservation = again
            granted.append(_Granted(question, draw, reservation))
        return granted

    def _reserve(self, question: Question, draw: Draw, bound: Cost) -> Reservation | None:
        answer = question.account.try_reserve(
            bound, elapsed=self.elapsed, note=f"sample {draw.index}"
        )
        return None if isinstance(answer, Refusal) else answer

    def _execute(self, granted: Sequence[_Granted]) -> None:
        """Launch what was reserved, some questions at a time, and wait for the end of it all.

        What policies want to know is answered when nothing runs, in the order of the tasks, so
        that what fits the budget does not depend on the race. Samples that wait do not run.
        """
        waiting: dict[str, list[_Granted]] = {}
        for one in granted:
            waiting.setdefault(one.question.request.id, []).append(one)
        flying: dict[str, set[int]] = {}
        questions = {question.request.id: question for question in self.questions}
        while True:
            while waiting and len(flying) < self.limits.in_flight:
                name = next(iter(waiting))
                _fly(flying, self._launch(waiting.pop(name)))
            if flying:
                self._poll(flying, questions)
            elif not self._answer():
                break
            if self.ledger.overdue(self.elapsed):
                self._close([q for q in self.questions if q.finish is None], "deadline")
            for question in self.questions:
                _fly(flying, self._moved(question))

    def _poll(self, flying: dict[str, set[int]], questions: Mapping[str, Question]) -> None:
        """Tell policies of what has ended, and of what waits."""
        found = self.sampler.poll()
        if not found:
            raise RheostatError("the sampler has lost draws that it was given")
        ended = [one for one in found if not isinstance(one, Held)]
        told = iter(self._kept(ended))
        for one in found:
            name, index = one.draw.key
            flying[name].discard(index)
            if not flying[name]:
                del flying[name]
            if isinstance(one, Held):
                questions[name].waits(one)
            else:
                questions[name].ended(next(told))
        self.watch()

    def _answer(self) -> bool:
        """Answer what policies want to know; return whether anything was asked."""
        asking = [question for question in self.questions if question.asks]
        for question in asking:
            while question.asks:
                self._asks.answer(question, question.asks.popleft(), self.elapsed)
        return bool(asking)

    def _launch(self, grants: Sequence[_Granted]) -> list[Draw]:
        """Launch a question's grants unless it is answered already; return what runs."""
        if grants[0].question.finish is not None:
            for one in grants:
                one.reservation.cancel("the question was answered before")
                one.question.put_back(one.draw)
            return []
        self.store.launched((one.draw, one.reservation.bound) for one in grants)
        for one in grants:
            self.sampler.launch(one.draw, one.reservation)
        return [one.draw for one in grants]

    def _moved(self, question: Question) -> list[Draw]:
        """Cancel and resume as its policy asked; return those that waited until now."""
        resumed, dropped = question.to_resume, question.to_drop
        for draw in resumed:
            self.sampler.resume(draw)
        for draw in (*question.to_cancel, *dropped):
            self.sampler.cancel(draw)
        question.to_resume, question.to_drop, question.to_cancel = [], [], []
        return resumed + dropped

    def _kept(self, ended: Sequence[Drawn]) -> list[Told]:
        """Keep what has ended, then ask the verifier about it and keep what it says."""
        fresh = [drawn for drawn in ended if not self.sampler.is_known(drawn.draw)]
        self.store.add(stored(drawn, self.tasks.answer(drawn.output.text)) for drawn in fresh)
        self.failures += [drawn.failed for drawn in ended if drawn.failed]
        return [self._told(drawn) for drawn in ended]

    def _told(self, drawn: Drawn) -> Told:
        draw, output = drawn.draw, drawn.output
        tokens = output.cost.new_tokens
        if drawn.failed:
            return Told(Lost(index=draw.index, reason="failed", tokens=tokens))
        if output.stop_reason in ("cancelled", "budget"):
            reason: LostReason = "budget" if output.stop_reason == "budget" else "cancelled"
            return Told(Lost(index=draw.index, reason=reason, tokens=tokens))
        kept = self.store.get(draw.question, draw.index)
        assert kept is not None
        score = self._score(kept, draw)
        nats = drawn.logprobs
        return Told(
            Ended(
                index=draw.index,
                answer=kept.answer,
                tokens=tokens,
                text=output.text,
                logprob=sum(nats) / len(nats) if nats else None,
                logprobs=nats,
                verified=None if score is None else score >= 1,
            ),
            score,
            output.token_ids,
        )

    def _score(self, kept: StoredSample, draw: Draw) -> float | None:
        if self.verifier is None or kept.verified is not None:
            return kept.verified
        score = self.verifier.score(draw.request, kept.text, kept.answer)
        self.store.add([replace(kept, verified=score)])
        return score

    def _late(self) -> bool:
        deadline = self.ledger.caps.seconds
        return deadline is not None and self.elapsed >= deadline

    def _close(self, questions: Sequence[Question], reason: CloseReason) -> None:
        for question in questions:
            question.close(reason)
            question.epoch = self.epochs


def _fly(flying: dict[str, set[int]], draws: Iterable[Draw]) -> None:
    for draw in draws:
        flying.setdefault(draw.question, set()).add(draw.index)
