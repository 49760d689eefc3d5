"""Scripted worlds for policies of the `sample` seam: known answers, any order of completion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rheostat.kernel.samples import (
    Cancel,
    Closed,
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
    Score,
    Scored,
)


def draws(shares, count, *, seed=0, tokens=20):
    """Samples of a question: answers `a`, `b`, … of known shares, the rest without an answer."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(shares) + 1, size=count, p=[*shares, max(0.0, 1 - sum(shares))])
    return [
        Ended(
            index=i,
            answer=chr(97 + kind) if kind < len(shares) else None,
            tokens=int(tokens + 3 * kind + rng.integers(5)),
            text=f"path {kind} {rng.integers(4)}",
            logprob=-0.2 - 0.1 * float(kind) - float(rng.random()) / 10,
            logprobs=tuple(-rng.exponential(0.3 + 0.1 * kind, tokens)),
            verified=bool(kind == 0),
        )
        for i, kind in enumerate(kinds)
    ]


@dataclass
class World:
    """Executes a policy's actions on samples that are known before."""

    samples: list[Ended]
    order: Any = None
    """Key by which running samples end: the index when None, i.e. in launch order."""
    lost: frozenset[int] = frozenset()
    verifier: bool = False
    cap: int | None = None
    """Launched samples after which the question is closed."""
    launched: int = 0
    tokens: int = 0
    finish: Finish | None = None
    temperatures: list[float | None] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)

    def run(self, policy, *, seed=0, samples=None):
        """Answer one question; return the world with what was spent."""
        start = SampleStart(
            question="q", samples=samples or len(self.samples), verifier=self.verifier, seed=seed
        )
        self.events, self.paused, self.running = [Opened()], {}, set()
        self.state = policy.start(start)
        while self.finish is None:
            event = self._next()
            self.state, actions = policy.step(self.state, event)
            self.actions.extend(actions)
            for action in actions:
                self._do(action)
        self._do(Cancel(indices=tuple(self.running | set(self.paused))))
        return self

    def _next(self):
        if self.events:
            return self.events.pop(0)
        if self.running and not (self.cap is not None and self.launched >= self.cap):
            index = min(self.running, key=self.order or int)
            return self._reached(index)
        if self.running:  # the cap is reached: what runs is still paid for
            return self._reached(min(self.running, key=self.order or int))
        assert self.cap is not None, "the policy waits for nothing"
        return Closed(reason="budget")

    def _reached(self, index):
        self.running.discard(index)
        sample = self.samples[index]
        pauses = self.pauses.get(index, ())
        if pauses and pauses[0] < sample.tokens:
            self.pauses[index] = pauses[1:]
            self.paused[index] = pauses[0]
            logprobs = sample.logprobs and sample.logprobs[: pauses[0]]
            return Paused(index=index, tokens=pauses[0], logprobs=logprobs)
        self.tokens += sample.tokens
        if index in self.lost:
            return Lost(index=index, reason="failed", tokens=sample.tokens)
        return sample if self.verifier else replace(sample, verified=None)

    pauses: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def _do(self, action):
        match action:
            case Launch(count=count, temperature=temperature, pauses=pauses):
                assert count >= 1
                assert self.launched + count <= len(self.samples), "more than N"
                if self.cap is not None:
                    count = min(count, self.cap - self.launched)
                new = range(self.launched, self.launched + count)
                self.running |= set(new)
                self.pauses |= dict.fromkeys(new, pauses)
                self.temperatures += [temperature] * count
                self.launched += count
            case Resume(indices=indices):
                self.running |= {i for i in indices if self.paused.pop(i, None) is not None}
            case Cancel(indices=indices):
                for i in indices:
                    self.tokens += self.paused.pop(i, self.samples[i].tokens // 2)
                    self.running.discard(i)
                    self.events.append(Lost(index=i, reason="cancelled"))
            case Probe(index=index, choices=choices):
                good = self.good(index)
                rest = (1 - good) / (len(choices) - 1)
                self.events.append(
                    Probed(index=index, probabilities=(good, *[rest] * (len(choices) - 1)))
                )
            case Score(index=index):
                self.events.append(Scored(index=index, score=self.good(index)))
            case Compare(index=index, other=other):
                same = self.samples[index].answer == self.samples[other].answer
                self.events.append(
                    Compared(index=index, other=other, probability=0.9 if same else 0.1)
                )
            case Finish():
                self.finish = action

    def good(self, index):
        """What a judge says: high for the first answer."""
        return {"a": 0.9, "b": 0.5, None: 0.05}.get(self.samples[index].answer, 0.2)
