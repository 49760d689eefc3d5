"""`Drawing`: the state machine of rules that look at samples one by one in launch order.

A rule says, of each prefix, that it has seen enough, or how many samples it must see more before
it could say so: that many are launched, and not one too many. What is asked about a sample (a
score, a probe) is asked when it has ended, and the sample enters the prefix with the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from rheostat.kernel.policies.prefix import Prefix
from rheostat.kernel.policies.votes import Seen, Vote
from rheostat.kernel.samples import (
    Closed,
    Ended,
    FinishReason,
    Launch,
    Lost,
    Opened,
    Probe,
    Probed,
    Score,
    Scored,
    Step,
)
from rheostat.kernel.samples import Finish as FinishAction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.kernel.samples import CloseReason, SampleAction, SampleEvent, SampleStart


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule decides: nothing more is drawn."""

    vote: Vote | None
    settled: bool
    confidence: float | None
    reason: FinishReason
    cannot_help: bool = False


class Rule(Protocol):
    """Looks at the samples of a question, in launch order."""

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Return the verdict, or how many samples more it takes before there can be one.

        After all samples of the plan there must be a verdict.
        """

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the answer that these samples speak for; None when none gave any."""


@dataclass(frozen=True, kw_only=True)
class _State:
    start: SampleStart
    launched: int = 0
    looked: int = 0
    prefix: Prefix[Seen] = field(default_factory=Prefix)
    asked: Mapping[int, Ended] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Draws samples until the rule has seen enough."""

    rule: Rule
    ask: Callable[[Ended, SampleStart], Probe | Score | None] | None = None
    """What is asked about a sample that ended; None = nothing."""
    temperature: Callable[[int], float | None] | None = None
    """Of the sample of an index; None = the plan's."""

    def start(self, start: SampleStart) -> _State:
        """Return the state before anything is drawn."""
        return _State(start=start)

    def step(self, state: _State, event: SampleEvent) -> Step:
        """Take in an event."""
        match event:
            case Opened():
                return self._looked(state)
            case Closed(reason=reason):
                return Step(state, (self._closed(state, reason),))
            case Ended():
                question = self.ask(event, state.start) if self.ask else None
                if question is not None:
                    asked = {**state.asked, event.index: event}
                    return Step(replace(state, asked=asked), (question,))
                return self._known(state, event.index, Seen(outcome=event))
            case Lost(index=index):
                return self._known(state, index, Seen(outcome=event))
            case Scored(index=index, score=value):
                return self._answered(state, index, value)
            case Probed(index=index, probabilities=probabilities):
                return self._answered(state, index, probabilities[0])
        return Step(state, ())

    def _answered(self, state: _State, index: int, value: float) -> Step:
        if index not in state.asked:
            return Step(state, ())
        return self._known(state, index, Seen(outcome=state.asked[index], value=value))

    def _known(self, state: _State, index: int, seen: Seen) -> Step:
        asked = {i: ended for i, ended in state.asked.items() if i != index}
        if isinstance(seen.outcome, Lost) and index in state.asked:  # the question about it failed
            seen = Seen(outcome=state.asked[index])
        prefix = state.prefix.plus(index, seen)
        return self._looked(replace(state, prefix=prefix, asked=asked))

    def _looked(self, state: _State) -> Step:
        """Look at every prefix that is new, the shortest first."""
        ready, launched = state.prefix.ready, state.launched
        for n in range(state.looked, len(ready) + 1):
            found = self.rule.look(ready[:n], state.start)
            if isinstance(found, Verdict):
                return Step(state, (finish_of(found),))
            launched = max(launched, min(n + max(1, found), state.start.samples))
        actions = self._launches(state.launched, launched)
        return Step(replace(state, launched=launched, looked=len(ready) + 1), actions)

    def _launches(self, first: int, end: int) -> tuple[SampleAction, ...]:
        if self.temperature is None:
            return (Launch(count=end - first),) if end > first else ()
        alike = groupby(range(first, end), key=self.temperature)
        return tuple(Launch(count=len(list(group)), temperature=t) for t, group in alike)

    def _closed(self, state: _State, reason: CloseReason) -> FinishAction:
        """Answer from the prefix; from what ended behind it when the prefix has no answer."""
        return closed_by(reason, best_known(state.prefix, state.start, self.rule.best))


def best_known(
    prefix: Prefix[Seen],
    start: SampleStart,
    best: Callable[[Sequence[Seen], SampleStart], Vote | None],
) -> Vote | None:
    """Return the best answer of a prefix; of what ended behind its gap when it has none."""
    vote = best(prefix.ready, start)
    if vote is None:
        behind = sorted(prefix.waiting.items())
        vote = best([seen for _, seen in behind], start)
        vote = vote and vote._replace(first=behind[vote.first][0])
    return vote


def closed_by(reason: CloseReason, vote: Vote | None) -> FinishAction:
    """Return the end of a question that nothing more is drawn for: it promises nothing."""
    return finish_of(
        Verdict(
            vote=vote,
            settled=False,
            confidence=None,
            reason=reason,
            cannot_help=reason == "cannot_help",
        )
    )


def finish_of(verdict: Verdict) -> FinishAction:
    """Return the action that a verdict asks for."""
    vote = verdict.vote
    return FinishAction(
        answer=vote.answer if vote else None,
        index=vote.first if vote else None,
        settled=verdict.settled,
        confidence=verdict.confidence,
        reason=verdict.reason,
        cannot_help=verdict.cannot_help,
    )
