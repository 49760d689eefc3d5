"""A recorded question in which a policy may do all that the seam `sample` offers.

Samples wait, are compared, probed and drawn greedily as a driver would have it, from what was
recorded; new tokens of every sample count until it ended or was pruned, and so do tokens that were
read to probe one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

from rheostat.kernel.samples import (
    Cancel,
    Compare,
    Compared,
    Ended,
    Finish,
    Launch,
    Lost,
    Opened,
    Paused,
    Probe,
    Probed,
    Resume,
    SampleStart,
)
from rheostat.stages.replayed import Drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.kernel.samples import SampleAction, SampleEvent, SamplePolicy

    Judge = Callable[[Ended, str, Ended, str], float]
    """The probability that two samples will have one answer; each with its text so far."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What a model said when it was asked about a sample."""

    first: float
    """Probability of the first choice."""
    tokens: int
    """Tokens that were read for it."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a question before a policy acts in it."""

    ended: Sequence[Ended]
    """In the order in which they are drawn."""
    judge: Judge | None = None
    probes: Mapping[str, Probes] = field(default_factory=dict)
    """By the text of a sample."""
    greedy: Ended | None = None
    """The sample of temperature 0."""


def acted(policy: SamplePolicy, known: Known, *, name: str = "", seed: int = 0) -> Drawn:
    """Let a policy answer a question from what is known of it."""
    start = SampleStart(question=name, samples=len(known.ended), seed=seed)
    return _World(known).run(policy, start)


@final
class _World:
    """One run."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._drawn: list[Ended] = []
        self._tokens: dict[int, int] = {}
        """New tokens of each sample so far."""
        self._read = 0
        self._events: deque[SampleEvent] = deque([Opened()])

    def run(self, policy: SamplePolicy, start: SampleStart) -> Drawn:
        state = policy.start(start)
        while self._events:
            state, actions = policy.step(state, self._events.popleft())
            for action in actions:
                if isinstance(action, Finish):
                    spent = sum(self._tokens.values()) + self._read
                    return Drawn(action.answer, len(self._drawn), spent)
                self._do(action)
        raise AssertionError("the policy neither draws nor answers")

    def _do(self, action: SampleAction) -> None:
        match action:
            case Launch():
                self._launch(action)
            case Resume(indices=indices):
                for index in indices:
                    self._ends(index)
            case Cancel(indices=indices):
                self._events += [Lost(index=i, reason="cancelled") for i in indices]
            case Probe(index=index):
                found = self._known.probes[self._drawn[index].text]
                self._read += found.tokens
                self._events.append(
                    Probed(index=index, probabilities=(found.first, 1.0 - found.first))
                )
            case Compare(index=index, other=other):
                self._events.append(
                    Compared(index=index, other=other, probability=self._alike(index, other))
                )
            case _:
                raise AssertionError(f"{action} cannot be done on recorded answers")

    def _launch(self, action: Launch) -> None:
        for _ in range(action.count):
            index = len(self._drawn)
            sample = self._known.ended[index]
            if action.temperature == 0:
                assert self._known.greedy is not None, "no greedy sample was recorded"
                sample = replace(self._known.greedy, index=index)
            self._drawn.append(sample)
            pause = next((n for n in action.pauses if n < sample.tokens), None)
            if pause is None:
                self._ends(index)
            else:
                self._tokens[index] = pause
                self._events.append(Paused(index=index, tokens=pause))

    def _ends(self, index: int) -> None:
        self._tokens[index] = self._drawn[index].tokens
        self._events.append(self._drawn[index])

    def _alike(self, index: int, other: int) -> float:
        one, two = self._drawn[index], self._drawn[other]
        written = [self._tokens[i] == self._drawn[i].tokens for i in (index, other)]
        if all(written) and one.answer is not None and two.answer is not None:
            return float(one.answer == two.answer)
        assert self._known.judge is not None, "nobody can compare unfinished samples"
        return self._known.judge(one, self._text(index), two, self._text(other))

    def _text(self, index: int) -> str:
        """Return what a sample has written, as a replay does: a share of its characters."""
        return so_far(self._drawn[index], self._tokens[index])


def so_far(sample: Ended, tokens: int) -> str:
    """Return about what a sample had written after so many tokens."""
    share = min(1.0, tokens / max(sample.tokens, 1))
    return sample.text[: round(share * len(sample.text))]
