"""Many answers to one request, drawn together under a constraint and weighed against each other.

Sequential Monte Carlo as in arXiv 2504.05410: every step draws a valid token of each answer with
its weight; when the weights have become too unequal, answers are drawn anew in proportion to them.
An answer at the length limit is multiplied by the probability that it ends there. The mean weight
estimates the probability that the model's own answer, of at most this length, is valid.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from rheostat.engines.base import Output, Particle, Population
from rheostat.errors import ConstraintError, MethodError
from rheostat.kernel.cost import Cost
from rheostat.kernel.policies.particles import ancestors, effective_size, log_mean, normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import OnToken, StopReason
    from rheostat.engines.constrained import ConstrainedRow
    from rheostat.kernel.ledger import Reservation
    from rheostat.kernel.seams import Floats, Installed
    from rheostat.kernel.trace import Trace

RESAMPLED_BELOW = 0.5
"""Effective size, as a share of all particles, below which they are drawn anew."""


@final
@dataclass(kw_only=True)
class Walk:
    """One answer while it is written."""

    held: Any
    """What the model keeps of it, such as a cache."""
    limits: ConstrainedRow
    new: list[int] = field(default_factory=list)
    log_weight: float = 0.0
    ended: StopReason | None = None

    @property
    def live(self) -> bool:
        """Whether it goes on."""
        return self.ended is None and _valid(self)


class Walker(Protocol):
    """A model that several answers to one prompt go through together."""

    written: int
    """Tokens of all answers, those that were dropped on the way included."""

    def read(self) -> Any:
        """Read the prompt up to its last token; return what is held of it."""

    def logits(self, walks: Sequence[Walk]) -> Floats:
        """Read each answer's newest token; return what follows, [walks, vocabulary]."""

    def forked(self, held: Any) -> Any:
        """Return a second one of what is held of an answer."""

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer."""

    def cost(self) -> Cost:
        """Return the cost so far, of all answers."""


@dataclass(frozen=True, kw_only=True)
class Together:
    """How the answers to one request are drawn."""

    name: str
    """The request's."""
    constraint: str
    prompt: Sequence[int]
    count: int
    ends: frozenset[int]
    max_new: int
    full: StopReason
    """Where `max_new` comes from."""
    rng: np.random.Generator
    trace: Trace
    overdue: Callable[[], bool]
    """Whether the deadline has passed."""
    reservation: Reservation | None


def generator(seed: int, name: str) -> np.random.Generator:
    """Return a request's own source of chance."""
    return np.random.default_rng(list(f"{seed}\n{name}\np".encode(errors="surrogatepass")))


def refuse_unserved(installed: Installed) -> None:
    """Raise `MethodError` for a plan with drafts, or with ends before the natural one."""
    if installed.draft is not None:
        raise MethodError(
            "particles are written token by token, so drafts serve them nothing",
            hint="take the draft sources off, as in `--set suffix=off`",
        )
    if installed.stop is not None:
        raise MethodError(
            "particles are weighed as whole answers, so none of them is ended early",
            hint="take the method of the seam `stop` off, as in `--set trimr=off`",
        )


def unstarted(name: str) -> Output:
    """Return the output of a request that the budget has no room for."""
    return Output(id=name, text="", token_ids=(), stop_reason="budget", cost=Cost())


def answered(
    walker: Walker, limits: ConstrainedRow, how: Together, on_token: OnToken | None
) -> Output:
    """Draw all answers to a request; the output is the text that holds most weight.

    Raises:
        ConstraintError: no answer is valid.
    """
    try:
        walks = _walked(walker, Walk(held=walker.read(), limits=limits), how)
    finally:
        if how.reservation is not None:
            how.reservation.settle(walker.cost())
    if any(walk.ended == "budget" for walk in walks) and not any(_valid(walk) for walk in walks):
        return replace(unstarted(how.name), cost=walker.cost(), trace=how.trace)
    population = _weighed(walks, how, walker.text)
    best = _heaviest(population)
    if on_token is not None:
        on_token(how.name, best.text)
    return Output(
        id=how.name,
        text=best.text,
        token_ids=best.token_ids,
        stop_reason=best.stop_reason,
        cost=walker.cost(),
        trace=how.trace,
        population=population,
    )


def _walked(walker: Walker, first: Walk, how: Together) -> list[Walk]:
    """Write all answers to their ends."""
    walks = [first, *(_fork(walker, first) for _ in range(how.count - 1))]
    for _ in range(how.max_new):
        live = [walk for walk in walks if walk.live]
        if not live:
            return walks
        if how.overdue():
            for walk in live:
                walk.ended, walk.log_weight = "budget", -math.inf
            return walks
        for walk, logits in zip(live, walker.logits(live), strict=True):
            walker.written += _extended(walk, logits, how)
        walks = _drawn_anew(walker, walks, how.rng)
    live = [walk for walk in walks if walk.live]
    for walk, logits in zip(live, walker.logits(live) if live else (), strict=True):
        mass = walk.limits.end_mass(logits, (*how.prompt, *walk.new))
        walk.log_weight += math.log(mass) if mass > 0 else -math.inf
        walk.ended = how.full
    return walks


def _weighed(
    walks: Sequence[Walk], how: Together, text: Callable[[Sequence[int]], str]
) -> Population:
    """Return the answers with their shares of the weight."""
    log_weights = np.array([walk.log_weight for walk in walks])
    if not any(map(_valid, walks)):
        raise ConstraintError(
            f"none of {how.count} particles satisfies the constraint `{how.constraint}` within "
            f"{how.max_new} tokens (request `{how.name}`)",
            hint="give more particles or longer answers, or say in the prompt what is wanted",
        )
    weights = normalised(log_weights)
    return Population(
        particles=tuple(
            Particle(
                text=text(walk.new),
                token_ids=tuple(walk.new),
                weight=float(weight),
                stop_reason=walk.ended or "cancelled",
            )
            for walk, weight in zip(walks, weights, strict=True)
        ),
        probability=math.exp(log_mean(log_weights)),
        effective=effective_size(log_weights),
    )


def _heaviest(population: Population) -> Particle:
    """Return a particle of the text that holds most weight."""
    shares: defaultdict[str, float] = defaultdict(float)
    for particle in population.particles:
        shares[particle.text] += particle.weight
    text = max(shares, key=shares.__getitem__)
    return max(
        (p for p in population.particles if p.text == text), key=lambda particle: particle.weight
    )


def _valid(walk: Walk) -> bool:
    return walk.log_weight > -math.inf


def _extended(walk: Walk, logits: Floats, how: Together) -> int:
    """Draw an answer's next token, if it has one; return how many were written."""
    taken = walk.limits.weighted(logits, (*how.prompt, *walk.new), how.rng, how.trace)
    walk.log_weight += taken.log_weight
    if taken.token is None:
        return 0
    if taken.token in how.ends:
        walk.ended = "eos"
        return 0
    walk.new.append(taken.token)
    return 1


def _drawn_anew(walker: Walker, walks: list[Walk], rng: np.random.Generator) -> list[Walk]:
    """Return as many walks, drawn by weight when few of them hold most of it."""
    log_weights = np.array([walk.log_weight for walk in walks])
    size = effective_size(log_weights)
    if size == 0 or size >= RESAMPLED_BELOW * len(walks):
        return walks
    chosen = ancestors(log_weights, rng).tolist()
    seen: set[int] = set()
    result = []
    for place in chosen:
        result.append(_fork(walker, walks[place]) if place in seen else walks[place])
        seen.add(place)
    mean = log_mean(log_weights)
    for walk in result:
        walk.log_weight = mean
    return result


def _fork(walker: Walker, walk: Walk) -> Walk:
    held = walker.forked(walk.held) if walk.live else None
    return replace(walk, held=held, limits=walk.limits.fork(), new=list(walk.new))
