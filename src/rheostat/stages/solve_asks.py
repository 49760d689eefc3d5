"""What policies ask about samples besides drawing them: probes by the model, pairs by the judge.

A probe is reserved, journalled and charged like a sample: a run that goes on gets back what is
known, and work that a kill cut off counts at its bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from rheostat.engines.sampler import Reading
from rheostat.errors import WorkloadError
from rheostat.kernel.records import Refusal
from rheostat.kernel.samples import Compare, Compared, Lost, Probe, Probed

if TYPE_CHECKING:
    from rheostat.engines.journaled_sampler import JournaledSampler
    from rheostat.engines.sample_store import SampleStore
    from rheostat.engines.sampler import Read
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Reservation
    from rheostat.kernel.samples import SampleEvent
    from rheostat.stages.solve_question import Question
    from rheostat.workloads.likeness import Likeness


@final
@dataclass(frozen=True, kw_only=True)
class Asks:
    """Answers what policies ask."""

    sampler: JournaledSampler
    store: SampleStore
    judge: Likeness
    """Whether texts that are not whole come to the same answer; it reads words, and runs no
    model."""

    def answer(self, question: Question, ask: Probe | Compare, elapsed: float) -> None:
        """Tell a question's policy what it asked for."""
        question.answered(self._answer(question, ask, elapsed))

    def _answer(self, question: Question, ask: Probe | Compare, elapsed: float) -> SampleEvent:
        if isinstance(ask, Compare):
            one, other = (question.written.get(i) for i in (ask.index, ask.other))
            if one is None or other is None:
                return Lost(index=ask.index, reason="failed")
            if one.answer is not None and other.answer is not None:
                likeness = float(one.answer == other.answer)
            else:
                likeness = self.judge.probability(one.text, other.text)
            return Compared(index=ask.index, other=ask.other, probability=likeness)
        written = question.written.get(ask.index)
        if written is None:
            return Lost(index=ask.index, reason="failed")
        reading = Reading(
            draw=replace(question.first_draw(), index=ask.index),
            token_ids=written.token_ids,
            suffix=ask.suffix,
            choices=ask.choices,
        )
        read = self._read(question, reading, elapsed)
        if read is None:
            return Lost(index=ask.index, reason="budget")
        return Probed(index=ask.index, probabilities=read.probabilities)

    def _read(self, question: Question, reading: Reading, elapsed: float) -> Read | None:
        """Read, or look up; None = it does not fit the budget, or the model's context."""
        name, number = question.request.id, question.readings
        question.readings += 1
        known = self.store.reading(name, number)
        reader = self.sampler.probing
        try:
            bound = known.bound if known else reader.reading_bound(reading)
        except WorkloadError:  # the sample is too long to be asked about
            return None
        reservation = self._reserved(question, reading, bound, elapsed)
        if reservation is None:
            return None
        if known and known.read:
            reservation.settle(known.read.cost)
            return known.read
        if known:
            reservation.fail("lost with an earlier process")
            bound = reader.reading_bound(reading)
            reservation = self._reserved(question, reading, bound, elapsed)
            if reservation is None:
                return None
        self.store.reads(name, number, bound)
        read = reader.read(reading, reservation)
        self.store.has_read(name, number, read)
        return read

    def _reserved(
        self, question: Question, reading: Reading, bound: Cost, elapsed: float
    ) -> Reservation | None:
        note = f"probe of sample {reading.draw.index}"
        answer = question.account.try_reserve(bound, elapsed=elapsed, note=note)
        return None if isinstance(answer, Refusal) else answer
