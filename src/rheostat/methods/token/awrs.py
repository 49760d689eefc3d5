"""AWRS: a valid token from few checks of a constraint (arXiv 2504.05410).

Tokens are checked in an order drawn without replacement, and the first valid one is taken; it has
the law of full masking. Weights, where they are asked for, come from a check or two more. The
policy is `kernel/policies/awrs.py`.

The dial is ours: tokens are checked in blocks of vocabulary^(1 - dial), so that dial 0 checks
every token (full masking, with exact weights) and dial 1 checks one by one. So are three accepts:
with the paper's two, weights over laws without a peak come from the recursive estimator, whose
variance is about Z, not Z^2, at a valid mass Z, so that few particles hold all the weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies import awrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from rheostat.kernel.constraint import Taken
    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape

    Floats = NDArray[np.float64]

ESTIMATORS = ("auto", "recursive", "geometric")


@final
@dataclass(frozen=True, kw_only=True)
class Awrs:
    """Adaptive weighted rejection sampling."""

    estimator: str = "auto"
    """Of the weights: `recursive`, `geometric`, or `auto`: by the law, as the paper's code does."""
    max_accepts: int = 3
    """Accepts that a weight is made of; 2 is the paper's, and more mean steadier weights."""

    card: ClassVar[Card] = Card(
        name="awrs",
        title="takes a valid token after a few checks of the constraint instead of a whole mask",
        seam="token",
        exactness="distribution",
        paper="arXiv:2504.05410",
        paper_title=(
            "Fast Controlled Generation from Language Models with Adaptive "
            "Weighted Rejection Sampling"
        ),
        authors=(
            "Benjamin Lipkin, Benjamin LeBrun, Jacob Hoover Vigly, João Loula, David R. "
            "MacIver, Li Du, Jason Eisner, Ryan Cotterell, Vikash Mansinghka, Timothy J. "
            "O'Donnell, Alexander K. Lew, Tim Vieira"
        ),
        needs=frozenset({"token"}),
    )

    def __post_init__(self) -> None:
        """Refuse unknown estimators, and too few accepts to estimate from."""
        if self.estimator not in ESTIMATORS:
            listed = ", ".join(f"`{name}`" for name in ESTIMATORS)
            raise MethodError(
                f"`awrs.estimator` must be one of {listed}, got `{self.estimator}`",
                hint="leave it out for `auto`",
            )
        if self.max_accepts < 2:
            raise MethodError(
                f"`awrs.max_accepts` must be at least 2, got `{self.max_accepts}`",
                hint="the weight is made of the accepts after the first",
            )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> AwrsChoice:
        """Return the choice that checks vocabulary^(1 - dial) tokens at a time."""
        return AwrsChoice(
            block=max(1, round(shape.vocabulary ** (1.0 - dial))),
            estimator=self.estimator,
            max_accepts=self.max_accepts,
        )


@final
@dataclass(frozen=True, kw_only=True)
class AwrsChoice:
    """AWRS at a dial."""

    block: int
    estimator: str
    max_accepts: int

    def likeliest(self, scores: Floats, check: Callable[[int], bool]) -> Taken:
        """Check in the order of the scores."""
        return awrs.likeliest(scores, check, block=self.block)

    def drawn(self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator) -> Taken:
        """Check in a drawn order."""
        return awrs.improper(law, check, rng, block=self.block)

    def weighted(
        self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator
    ) -> Taken:
        """Check in a drawn order, and on until the weight is known."""
        if self.estimator == "recursive":
            return awrs.recursive(law, check, rng, block=self.block)
        accepts = self.max_accepts
        if self.estimator == "geometric" and self.block == 1:
            return awrs.geometric(law, check, rng, max_accepts=accepts)
        return awrs.weighted(law, check, rng, block=self.block, max_accepts=accepts)
