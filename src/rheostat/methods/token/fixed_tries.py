"""Control of the token seam: a fixed number of plain draws, then the whole mask.

What rejection sampling does without any adaptation: tokens are drawn from the law with replacement,
so one that was refused may come again; after `tries` of them every token is checked. The law is
that of full masking. A method of this seam that does not need fewer checks has not earned its
bookkeeping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from rheostat.errors import MethodError
from rheostat.kernel.constraint import Taken
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.full_mask import drawn_of, likeliest_of, masked
from rheostat.kernel.policies.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape

    Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class FixedTries:
    """Plain rejection sampling with a fixed number of tries."""

    tries: int = 16
    """Draws before the whole mask, at dial 1."""

    card: ClassVar[Card] = Card(
        name="fixed_tries",
        title="draws a fixed number of times with replacement, then checks every token",
        seam="token",
        exactness="distribution",
        paper="control",
        needs=frozenset({"token"}),
        control=True,
    )

    def __post_init__(self) -> None:
        """Refuse a number of no tries."""
        if self.tries < 1:
            raise MethodError(f"`fixed_tries.tries` must be at least 1, got `{self.tries}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> TriesChoice:
        """Return the choice that has the dial's share of `tries`."""
        return TriesChoice(tries=steps(dial, self.tries))


@final
@dataclass(frozen=True, kw_only=True)
class TriesChoice:
    """The control at a dial."""

    tries: int

    def likeliest(self, scores: Floats, check: Callable[[int], bool]) -> Taken:
        """Try the largest scores in turn."""
        order = np.argsort(-scores, kind="stable")[: self.tries].tolist()
        for tried, token in enumerate(order, start=1):
            if scores[token] == -np.inf:
                return Taken(None, 0.0, tried - 1)
            if check(token):
                return Taken(token, 0.0, tried)
        possible = scores > -np.inf
        valid = masked(possible, check)
        return likeliest_of(scores, valid, checks=len(order) + int(possible.sum()))

    def drawn(self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator) -> Taken:
        """Draw with replacement, then from the masked law."""
        for tried in range(1, self.tries + 1):
            token = draw(law, rng)
            if check(token):
                return Taken(token, 0.0, tried)
        taken = self.weighted(law, check, rng)
        return Taken(taken.token, 0.0, self.tries + taken.checks)

    def weighted(
        self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator
    ) -> Taken:
        """Mask every token: plain tries say nothing of the weight."""
        possible = law > 0
        return drawn_of(law, masked(possible, check), rng, checks=int(possible.sum()))
