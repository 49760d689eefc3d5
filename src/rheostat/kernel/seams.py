"""The questions that an engine asks a method, and the small values that cross the seams.

Seams built so far: `depth` (which sub-layers does this row run?), `draft` (which tokens may come
next?), `token` (which token is taken under a constraint, at which weight?) and `cache` (what stays
in the KV cache? see `kv_cache`); around the step `model` (in which form does the model work?),
`stop` (`rheostat.kernel.stop`) and `sample` (`rheostat.kernel.samples`). A draft that takes forward
passes is asked of the engine as a `ModelDraft`. Everything here works on token ids and numpy
arrays; nothing knows about torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rheostat.kernel.constraint import TokenChoice
    from rheostat.kernel.kv_cache import CachePlan
    from rheostat.kernel.samples import SamplePolicy
    from rheostat.kernel.stop import StopPolicy

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Seam = Literal["depth", "draft", "token", "cache", "stop", "model", "sample", "branch", "reuse"]
Exactness = Literal["bitwise", "distribution", "lossy"]


@dataclass(frozen=True)
class Layout:
    """Which sub-layers exist at all: a static depth decision, at no cost while running."""

    attention: tuple[bool, ...]
    """One entry a layer: is its attention kept?"""
    mlp: tuple[bool, ...]
    """One entry a layer: is its MLP kept?"""

    @staticmethod
    def full(layers: int) -> Layout:
        """Keep every sub-layer: the base."""
        return Layout((True,) * layers, (True,) * layers)

    def without(self, *, attention: Sequence[int] = (), mlp: Sequence[int] = ()) -> Layout:
        """Drop the named layers' sub-layers as well."""
        return Layout(
            tuple(kept and i not in set(attention) for i, kept in enumerate(self.attention)),
            tuple(kept and i not in set(mlp) for i, kept in enumerate(self.mlp)),
        )

    def within(self, first: int, end: int) -> Layout:
        """Keep only what lies in the layers first..end-1."""
        inside = [first <= i < end for i in range(len(self.attention))]
        return self.shared(Layout(tuple(inside), tuple(inside)))

    def shared(self, other: Layout) -> Layout:
        """Keep what both keep."""
        return Layout(
            tuple(a and b for a, b in zip(self.attention, other.attention, strict=True)),
            tuple(a and b for a, b in zip(self.mlp, other.mlp, strict=True)),
        )

    def first_difference(self, other: Layout) -> int:
        """Return the first layer of which the two keep different parts; the layers if none."""
        pairs = zip(self.attention, other.attention, self.mlp, other.mlp, strict=True)
        differing = (i for i, (a, b, c, d) in enumerate(pairs) if (a, c) != (b, d))
        return next(differing, len(self.attention))


class MlpPolicy(Protocol):
    """A dynamic decision: which tokens of this step run the MLP of this layer?

    The engine calls `begin` once a forward pass, then for each layer in order `runs` and, when
    `watches(layer)`, `observe`. All arrays have one entry a token of the step, whatever row
    the token belongs to; a decision depends on its own token only.
    """

    def begin(self, generated: Ints) -> Any:
        """Start a pass. `generated[i]` is the token's index after its prompt; < 0 in a prompt."""

    def runs(self, layer: int, state: Any) -> Bools | None:
        """Return which tokens run this MLP; None = all of them."""

    def watches(self, layer: int) -> bool:
        """Return whether `observe` wants the cosine at this layer (it costs a dot product)."""

    def observe(self, layer: int, ran: Bools | None, cosine: Floats, state: Any) -> Any:
        """Take in cos(h, h + MLP(h)) of the tokens that ran (in token order); return the state."""


@dataclass(frozen=True)
class Depth:
    """A depth decision: what exists, and what is decided while running (None = nothing)."""

    layout: Layout
    policy: MlpPolicy | None = None


StepSeconds = Callable[[int, int], float]
"""Seconds of one forward pass over n new tokens after a context, from the profile of this machine:
(n, context) -> seconds."""


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Which forward pass drafts a token: a part of the plan's own model, or another model."""

    layout: Layout | None = None
    """Sub-layers of the plan's model that the draft runs, as far as the plan runs them; leaving
    early after layer k keeps the layers 0..k-1. None = another model drafts."""
    model: str = ""
    """Path of the other model's file."""
    head: str = ""
    """Digest of the acceptance head that reads the draft's last hidden state; empty = none."""


DraftingSeconds = Callable[[Forward, int, int, int], float]
"""Seconds of a step that drafts k tokens with a forward and verifies them, when that forward has
yet to read so many tokens (1 = the newest alone): (forward, k, unread, context) -> seconds."""


@dataclass(frozen=True, kw_only=True)
class DraftStart:
    """What a draft source sees when a row starts."""

    prompt: Sequence[int]
    """Token ids of the prompt."""
    special: frozenset[int]
    """Token ids of control tokens: matches wholly inside them say nothing."""
    step_seconds: StepSeconds
    """Cost of a forward pass over n new tokens after a context."""
    drafting_seconds: DraftingSeconds | None = None
    """Cost of a step whose draft takes forward passes; None = nobody runs them here."""


class Branch(NamedTuple):
    """Another way on from a place of a guess."""

    at: int
    """Tokens of the guess that come before it: fewer than the guess has."""
    tokens: Sequence[int]
    """Token ids, at least one; the first is not the guess's at that place."""
    kind: int
    """An index into the source's `priors`, of a kind that no guess has."""


class Guess(NamedTuple):
    """What a draft source thinks comes next."""

    tokens: Sequence[int]
    """Token ids, at least one."""
    kind: int
    """Which of the source's kinds of guess it is: an index into its `priors`."""
    branches: Sequence[Branch] = ()
    """Where else the text may go."""


class DraftSource(Protocol):
    """Guesses the next tokens; a controller decides how many of them are drafted."""

    @property
    def priors(self) -> Sequence[tuple[float, float]]:
        """Acceptance of the first token and of each further one before anything was seen: a kind
        of guess each. Guesses of one kind should fare alike. Those of a branch are the chances
        once all tokens before it are right.
        """

    def start(self, start: DraftStart) -> Any:
        """Return the state of a new row."""

    def guess(self, state: Any, longest: int) -> Guess | None:
        """Return at most `longest` tokens that may come next, None when nothing is known."""

    def commit(self, state: Any, tokens: Sequence[int]) -> Any:
        """Take in the tokens that were written; return the state."""


class Drafter(Protocol):
    """A decision about drafts at a dial: proposes tokens, learns from what was written."""

    def start(self, start: DraftStart) -> Any:
        """Return the state of a new row."""

    def propose(self, state: Any, limit: int) -> Sequence[int]:
        """Return at most `limit` token ids that may come next; empty = an ordinary step.

        They are a chain, or a `TokenTree` of several ways in which the text may go on.
        """

    def commit(self, state: Any, tokens: Sequence[int]) -> Any:
        """Take in the tokens written by the step after the last `propose`; return the state."""


class ModelDraft(Protocol):
    """A draft that the engine computes, token by token, with the forward that is named.

    Every token that was drawn is verified, whatever it is: to drop one because of its value would
    change the law of sampled answers.
    """

    forward: Forward

    def goes_on(self, score: float | None) -> bool:
        """Take in that a token was drawn; return whether another one is wanted.

        Args:
            score: the acceptance head's output in (0, 1) for the token drawn before it, which the
                pass has read; None = there is none.
        """


class ModelDrafter(Drafter, Protocol):
    """A decision about drafts that may ask for forward passes."""

    @property
    def forwards(self) -> Sequence[tuple[Forward, int]]:
        """What it may ask for: each forward, and the most tokens of a draft with it."""

    def ask(self, state: Any, limit: int) -> ModelDraft | None:
        """Return the draft, of at most `limit` tokens, that pays more than the last proposal."""


@dataclass(frozen=True)
class NumberFormat:
    """A decision about the model: the same weights, in another number format."""

    name: str
    """As in `--dtype`."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What a plan switched on, one decider a seam; the default is the base."""

    depth: Depth | None = None
    draft: Drafter | None = None
    token: TokenChoice | None = None
    cache: CachePlan | None = None
    models: ModelDrafter | None = None
    """The same decision about drafts, when it may ask for forward passes."""
    model: NumberFormat | None = None
    """In which form the model works; None = in the base's."""
    sample: SamplePolicy | None = None
    """Which samples are drawn of a question; `rheostat.kernel.samples` has the questions."""
    stop: StopPolicy | None = None
    """Where a sequence ends before its natural end."""
