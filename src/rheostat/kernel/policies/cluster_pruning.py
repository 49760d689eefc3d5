"""A machine that lets only one of several alike, unfinished samples go on: DeepPrune's clusters.

All N samples start and wait at a length. In launch order each is compared with the representatives
of the clusters so far: it joins the likeliest one if the judged probability of an equal answer is
at least a threshold (and ends there), else it represents a new cluster (and goes on). Votes weigh
the size of the cluster, so that with a judge that is always right the winner is the majority's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rheostat.kernel.policies.drawing import Verdict, best_known, closed_by, finish_of
from rheostat.kernel.policies.prefix import Prefix
from rheostat.kernel.policies.votes import Seen, Vote, ranked
from rheostat.kernel.samples import (
    Cancel,
    Closed,
    Compare,
    Compared,
    Ended,
    Launch,
    Lost,
    Opened,
    Paused,
    Resume,
    Step,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.samples import SampleAction, SampleEvent, SampleStart

    Reached = Paused | Ended | Lost


@dataclass(frozen=True, kw_only=True)
class _State:
    start: SampleStart
    reached: Prefix[Reached] = field(default_factory=Prefix)
    """What each sample did first: wait, end, or get lost."""
    ended: Mapping[int, Ended | Lost] = field(default_factory=dict)
    """Samples that are over, those that joined a cluster left out."""
    placed: int = 0
    """Samples that are in a cluster, or lost."""
    sizes: Mapping[int, int] = field(default_factory=dict)
    """Size of each cluster, by its representative."""
    judged: Mapping[int, float] = field(default_factory=dict)
    """Probability of an equal answer with each representative, of the sample being placed."""
    comparing: bool = False
    """Whether the judge was asked about that sample."""


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Prunes samples that will end alike."""

    threshold: float | None
    """Probability from which two samples count as alike; None = nobody waits, a plain vote."""
    length: int
    """New tokens at which samples are compared."""
    most: int
    """Clusters after which a new sample joins the likeliest one whatever its probability; samples
    that ended before the length do not count, as nothing is saved by ending them."""

    def start(self, start: SampleStart) -> _State:
        """Return the state before anything is drawn."""
        return _State(start=start)

    def step(self, state: _State, event: SampleEvent) -> Step:
        """Take in an event."""
        match event:
            case Opened():
                pauses = () if self.threshold is None else (self.length,)
                return Step(state, (Launch(count=state.start.samples, pauses=pauses),))
            case Closed(reason=reason):
                return Step(state, (closed_by(reason, self._so_far(state)),))
            case Paused(index=index):
                state = replace(state, reached=state.reached.plus(index, event))
            case Ended(index=index) | Lost(index=index):
                state = self._over(state, index, event)
                if state.comparing and index == state.placed:  # it, or a comparison, was lost
                    state = replace(state, placed=index + 1, judged={}, comparing=False)
            case Compared(index=index, other=other, probability=probability):
                if not state.comparing or index != state.placed:
                    return Step(state, ())
                state = replace(state, judged={**state.judged, other: probability})
                return self._placed(state)
            case _:
                return Step(state, ())
        return self._next(state)

    def _over(self, state: _State, index: int, event: Ended | Lost) -> _State:
        if 0 <= index < state.placed and index not in state.sizes:
            return state  # it joined a cluster
        ended = {**state.ended, index: event}
        return replace(state, reached=state.reached.plus(index, event), ended=ended)

    def _next(self, state: _State) -> Step:
        """Place the samples that reached the length, one by one, until one must be compared."""
        actions: list[SampleAction] = []
        while state.placed < len(state.reached.ready) and not state.comparing:
            index = state.placed
            reached = state.ended.get(index, state.reached.ready[index])
            if isinstance(reached, Paused) and state.sizes:
                compares = [Compare(index=index, other=other) for other in state.sizes]
                return Step(replace(state, comparing=True), (*actions, *compares))
            sizes = state.sizes
            if not isinstance(reached, Lost):
                sizes = {**sizes, index: 1}
            if isinstance(reached, Paused):
                actions.append(Resume(indices=(index,)))
            state = replace(state, placed=index + 1, sizes=sizes)
        return self._finished(state, actions)

    def _placed(self, state: _State) -> Step:
        """Place the sample whose comparisons are all known."""
        index = state.placed
        if not state.sizes.keys() <= state.judged.keys():
            return Step(state, ())
        likeness = {other: _in_range(state.judged[other]) for other in state.sizes}
        best = max(likeness, key=lambda other: (likeness[other], -other))
        full = sum(isinstance(state.reached.ready[i], Paused) for i in state.sizes) >= self.most
        joins = full or likeness[best] >= (self.threshold or 0.0)
        cluster = best if joins else index
        sizes = {**state.sizes, cluster: state.sizes.get(cluster, 0) + 1}
        action = Cancel(indices=(index,)) if joins else Resume(indices=(index,))
        done = self._next(replace(state, placed=index + 1, sizes=sizes, judged={}, comparing=False))
        return Step(done.state, (action, *done.actions))

    def _finished(self, state: _State, actions: Sequence[SampleAction]) -> Step:
        whole = state.placed == state.start.samples and state.sizes.keys() <= state.ended.keys()
        if not whole:
            return Step(state, tuple(actions))
        verdict = Verdict(vote=self._so_far(state), settled=True, confidence=None, reason="samples")
        return Step(state, (*actions, finish_of(verdict)))

    def _so_far(self, state: _State) -> Vote | None:
        """Return the answer of the largest clusters among those that are known in launch order."""
        known: Prefix[Seen] = Prefix()
        for index, event in sorted(state.ended.items()):
            known = known.plus(index, Seen(outcome=event))
        for index in range(state.placed):  # pruned ones leave no gap
            if index not in state.sizes and index not in state.ended:
                known = known.plus(index, Seen(outcome=Lost(index=index, reason="cancelled")))

        def best(seen: Sequence[Seen], start: SampleStart) -> Vote | None:
            weights = [float(state.sizes.get(sample.outcome.index, 1)) for sample in seen]
            return next(iter(ranked(seen, weights)), None)

        return best_known(known, state.start, best)


def _in_range(probability: float) -> float:
    return probability if 0.0 <= probability <= 1.0 else 0.0
