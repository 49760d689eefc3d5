"""The questions that an engine asks a method, and the small values that cross the seams.

Seams built so far: `depth` (which sub-layers does this row run?), `draft` (which tokens may come
next?) and `token` (which token is taken under a constraint, at which weight?). Everything here
works on token ids and numpy arrays; nothing knows about torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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

    def above(self, layer: int) -> Layout:
        """Return the sub-layers from a layer on."""
        below = (False,) * layer
        return Layout(below + self.attention[layer:], below + self.mlp[layer:])


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
class DraftStart:
    """What a draft source sees when a row starts."""

    prompt: Sequence[int]
    """Token ids of the prompt."""
    special: frozenset[int]
    """Token ids of control tokens: matches wholly inside them say nothing."""
    step_seconds: StepSeconds
    """Cost of a forward pass over n new tokens after a context."""


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


class Constraint(Protocol):
    """What an answer must be, token by token. A state belongs to one row."""

    name: str
    """As the user wrote it."""

    def start(self) -> Any:
        """Return the state of an empty answer."""

    def allows(self, state: Any, token: int) -> bool:
        """Return whether the token may come next, so that a valid answer can still follow."""

    def mask(self, state: Any) -> Bools | None:
        """Return `allows` of every token at once, [vocabulary]; None = only one by one."""

    def advance(self, state: Any, token: int) -> Any:
        """Take in a token that is allowed; return the state, which may be the same object."""

    def may_end(self, state: Any) -> bool:
        """Return whether the answer is valid as it stands."""

    def fork(self, state: Any) -> Any:
        """Return a second state that is advanced by itself."""


class Taken(NamedTuple):
    """A token that a constraint admits."""

    token: int | None
    """None = every possible token was checked and none is valid."""
    log_weight: float
    """Logarithm of w with E[w 1[token = i]] = p_i if i is valid, else 0; 0 where none is asked."""
    checks: int
    """Tokens checked."""


class TokenChoice(Protocol):
    """Takes a valid token: a decision about which tokens are checked, and in which order.

    Each method draws by the same law, p restricted to valid tokens and renormalised; `check` says
    of a token whether it is valid.
    """

    def likeliest(self, scores: Floats, check: Callable[[int], bool]) -> Taken:
        """Return the valid token of the largest score, the lower id among equal ones.

        `scores` is [vocabulary]; -inf = impossible.
        """

    def drawn(self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator) -> Taken:
        """Draw a valid token from `law` [vocabulary]; its weight is not asked for."""

    def weighted(
        self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator
    ) -> Taken:
        """Draw a valid token from `law` [vocabulary], with its weight."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What a plan switched on, one decider a seam; the default is the base."""

    depth: Depth | None = None
    draft: Drafter | None = None
    token: TokenChoice | None = None
