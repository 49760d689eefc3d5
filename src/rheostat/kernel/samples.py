"""The seam `sample`: draw another sample of a question, prune one, or answer?

A policy is a synchronous state machine per question: `start(start) -> state`, then
`step(state, event) -> Step(state, actions)`, first with `Opened`. It holds no model: what needs a
forward pass is an action, which a driver executes, charges, and reports by an event. Samples are
numbered 0, 1, 2, … in the order of their launch, and a decision depends on the prefix in that
order only, never on which sample happened to end first (`policies/prefix.py` puts them in order).

A policy's launches are wishes. Which of them are granted, when several questions share a budget,
is decided in epochs by an `Allocation` (`allocation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

FinishReason = Literal[
    "settled", "verified", "samples", "cannot_help", "budget", "deadline", "cancelled"
]
"""Why a question was answered: its rule was satisfied; a sample passed the verifier; all samples
of the plan are drawn; more of them would not help; the budget, the time, or the user's patience
was over."""
LostReason = Literal["failed", "cancelled", "budget"]
CloseReason = Literal["budget", "deadline", "cancelled", "cannot_help"]


@dataclass(frozen=True, kw_only=True)
class SampleStart:
    """What a policy sees when a question starts."""

    question: str
    """Id of the question."""
    samples: int
    """N: the most samples that the plan draws for it, at least 1."""
    verifier: bool = False
    """Whether `Ended.verified` will be told."""
    seed: int = 0
    """The question's own seed, for policies that draw lots."""


# events


class Opened(NamedTuple):
    """The question may begin: always the first event, and no other carries it."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A sample came to its end."""

    index: int
    answer: str | None
    """Its class of equivalent answers; None = it gave no answer, which is never a vote."""
    tokens: int
    """New tokens of the sample."""
    text: str = ""
    """The whole text: equal texts are one path."""
    logprob: float | None = None
    """Mean nats of its tokens under the model's own law (temperature 1); None = not to be had."""
    logprobs: tuple[float, ...] | None = None
    """Nats of each token; None = not to be had."""
    verified: bool | None = None
    """What the verifier said; None = there is none, or it gave no verdict."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A sample came to nothing: it takes its place in the order, and has no vote."""

    index: int
    reason: LostReason
    tokens: int = 0
    """New tokens that were paid for all the same."""


@dataclass(frozen=True, kw_only=True)
class Paused:
    """A sample reached a length at which its launch told it to wait."""

    index: int
    tokens: int
    """New tokens so far."""
    logprobs: tuple[float, ...] | None = None
    """Nats of each token so far; None = not to be had."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """The answer to a `Probe`."""

    index: int
    probabilities: tuple[float, ...]
    """Of the choices, in their order; they sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The answer to a `Score`."""

    index: int
    score: float
    """In [0, 1]: higher is better."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The answer to a `Compare`."""

    index: int
    other: int
    probability: float
    """That both samples end in the same answer, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Closed:
    """No sample will come any more: the policy must finish now."""

    reason: CloseReason


SampleEvent = Opened | Ended | Lost | Paused | Probed | Scored | Compared | Closed

# actions


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Draw further samples, numbered on from the last one that was launched."""

    count: int
    """At least 1."""
    temperature: float | None = None
    """None = the plan's; 0 = greedy."""
    pauses: tuple[int, ...] = ()
    """New tokens after which each of them waits for `Resume` or `Cancel`, ascending."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Let paused samples go on."""

    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """End samples early; each comes back as `Lost`."""

    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Append a short text to a sample and read the probabilities of one-token choices there.

    The sample itself is not changed by it. It comes back as `Probed`.
    """

    index: int
    suffix: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Ask the judge (a reward model, a graded verifier) about a sample: comes back as `Scored`."""

    index: int


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Ask how probable it is that two samples, finished or not, have one answer: `Compared`."""

    index: int
    other: int


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Answer the question: always the last action; whatever still runs is cancelled."""

    answer: str | None
    """The class of the answer; None = no sample gave one."""
    index: int | None
    """The earliest sample (or the chosen one) that gave it; None = no answer."""
    settled: bool
    """Whether the policy's own promise holds; never after a budget's or deadline's end."""
    confidence: float | None
    """What that promise says, in [0, 1]; None = it promises nothing."""
    reason: FinishReason
    cannot_help: bool = False
    """Whether more samples are expected not to change that the question is unsolved."""


SampleAction = Launch | Resume | Cancel | Probe | Score | Compare | Finish


class Step(NamedTuple):
    """What came of an event."""

    state: Any
    actions: Sequence[SampleAction]


class SamplePolicy(Protocol):
    """A decision about the samples of one question, at a dial.

    After `Closed` the actions end with `Finish`. Events after `Finish` are not told. A probe, score
    or comparison that failed is told as one of a sample that is `Lost`.
    """

    def start(self, start: SampleStart) -> Any:
        """Return the state of a new question."""

    def step(self, state: Any, event: SampleEvent) -> Step:
        """Take in an event; return the new state and what is to be done."""
