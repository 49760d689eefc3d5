"""A machine that draws a fixed number of samples and then lets a judge compare them in pairs.

Minimum Bayes risk: the answer is the sample of the highest sum of utilities with all others, where
the utility is the judged probability that two samples have one answer. With a judge that knows
whether answers are equal it is the majority.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

from rheostat.kernel.policies.drawing import Drawing, Verdict, best_known, closed_by, finish_of
from rheostat.kernel.policies.fixed_number import FixedNumber
from rheostat.kernel.policies.prefix import Prefix
from rheostat.kernel.policies.votes import Seen, Vote
from rheostat.kernel.samples import Closed, Compare, Compared, Ended, Lost, Opened, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.kernel.samples import SampleEvent, SampleStart

    Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _State:
    start: SampleStart
    prefix: Prefix[Seen] = field(default_factory=Prefix)
    asked: frozenset[Pair] = frozenset()
    known: Mapping[Pair, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pairwise:
    """Draws max(1, round(kept N)) samples, compares them, and answers with the most alike."""

    kept: float
    """Share of the plan's samples that is drawn, in [0, 1]."""
    temperature: Callable[[int], float | None] | None = None
    """Of the sample of an index; None = the plan's."""

    def start(self, start: SampleStart) -> _State:
        """Return the state before anything is drawn."""
        return _State(start=start)

    def step(self, state: _State, event: SampleEvent) -> Step:
        """Take in an event."""
        match event:
            case Compared(index=index, other=other, probability=probability):
                known = {**state.known, (index, other): probability}
                return self._compared(replace(state, known=known))
            case Lost(index=index) if state.asked:  # a comparison that failed says nothing
                failed = dict.fromkeys((pair for pair in state.asked if index in pair), 0.0)
                return self._compared(replace(state, known={**failed, **state.known}))
            case Opened():
                drawing = Drawing(rule=self._rule, temperature=self.temperature)
                return Step(state, drawing.step(drawing.start(state.start), event).actions)
            case Ended(index=index) | Lost(index=index):
                prefix = state.prefix.plus(index, Seen(outcome=event))
                return self._asking(replace(state, prefix=prefix))
            case Closed(reason=reason):
                vote = best_known(state.prefix, state.start, self._rule.best)
                return Step(state, (closed_by(reason, vote),))
        return Step(state, ())

    @property
    def _rule(self) -> FixedNumber:
        return FixedNumber(kept=self.kept)

    def _asking(self, state: _State) -> Step:
        """Ask about every pair once the last sample has ended."""
        if len(state.prefix.ready) < self._rule.number(state.start):
            return Step(state, ())
        votes = [i for i, seen in enumerate(state.prefix.ready) if seen.answer is not None]
        pairs = frozenset(combinations(votes, 2))
        state = replace(state, asked=pairs)
        if not pairs:
            return self._compared(state)
        return Step(state, tuple(Compare(index=i, other=j) for i, j in sorted(pairs)))

    def _compared(self, state: _State) -> Step:
        if not state.asked <= state.known.keys():
            return Step(state, ())
        sums = {i: 1.0 for i, seen in enumerate(state.prefix.ready) if seen.answer is not None}
        for i, j in state.asked:
            value = state.known[i, j]
            value = value if 0 <= value <= 1 else 0.0
            sums[i], sums[j] = sums[i] + value, sums[j] + value
        best = max(sums, key=lambda i: (round(sums[i], 9), -i), default=None)
        answer = None if best is None else state.prefix.ready[best].answer
        vote = None if best is None or answer is None else Vote(answer, best, 1, sums[best])
        verdict = Verdict(vote=vote, settled=True, confidence=None, reason="samples")
        return Step(state, (finish_of(verdict),))
