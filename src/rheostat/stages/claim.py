"""What is claimed of a plan's loss: the bound, its level, the scale, and the sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from rheostat.errors import PlanError
from rheostat.kernel.certify.bounds import BOUNDS, Bound
from rheostat.kernel.certify.losses import Range
from rheostat.kernel.certify.needed import least_items, needed_items
from rheostat.stages.goal import NEUTRAL, RANGES, SolveLoss

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import LossKind

    Floats = NDArray[np.float64]

MEANS: Mapping[LossKind | SolveLoss, str] = {
    "disagree": "share of the base's greedy tokens that the plan, reading them, does not choose",
    "score": "(base score - plan score + 1) / 2 of whole answers, where 0.5 is the base's quality",
    "nats": "excess nats a token, a document at a time, clipped to -1 and 1",
    "wrong": "share of questions that the plan answers wrongly and the base does not, minus those "
    "that it newly answers rightly",
    "other": "share of questions that the plan answers otherwise than the base",
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A mean loss of at most `limit`, to be shown at a level by a bound."""

    kind: LossKind | SolveLoss
    limit: float
    alpha: float
    bound: Bound
    scale: Range
    """What the bound takes as 0 and 1; losses below it are raised to its lower end."""

    @property
    def items(self) -> str:
        """What losses are counted by, in words."""
        return "questions" if self.kind in get_args(SolveLoss) else "items"

    def unit(self, losses: Sequence[float]) -> Floats:
        """Return losses as the bound takes them; raise `PlanError` for what is no loss."""
        values = RANGES[self.kind].checked(losses)
        return self.scale.to_unit(np.maximum(values, self.scale.low))

    def p_value(self, losses: Sequence[float], *, items: int | None = None) -> float:
        """Return the evidence against a mean over the limit.

        Args:
            losses: of a sample, or of its beginning where the bound takes one.
            items: how many the whole sample has; None = these are all.
        """
        limit = self.scale.limit_to_unit(self.limit)
        return float(self.bound.p_value(self.unit(losses), limit, self.alpha, items=items))

    def upper(
        self, losses: Sequence[float], *, items: int | None = None, level: float | None = None
    ) -> float:
        """Return the upper bound of the mean loss of one setting; arguments as for `p_value`.

        With `level`, it is what a p-value under that level excludes; None = alpha.
        """
        bound = self.bound.upper(self.unit(losses), self.alpha, items=items, level=level)
        return self.scale.from_unit(bound)

    def hopeless(self, losses: Sequence[float], *, items: int, level: float) -> bool:
        """Return whether the limit is out of reach even if the rest loses nothing at all."""
        rest = [RANGES[self.kind].low] * (items - len(losses))
        return self.p_value([*losses, *rest], items=items) > level

    def needed(self, losses: Sequence[float], *, level: float | None = None) -> int | None:
        """Return about how many items would certify losses like these; None = no number does."""
        limit = self.scale.limit_to_unit(self.limit)
        return needed_items(self.bound, self.unit(losses), limit, self.alpha, level=level)

    def least(self) -> int | None:
        """Return how many items it takes if each loses as little as the base."""
        limit, base = (self.scale.limit_to_unit(x) for x in (self.limit, NEUTRAL[self.kind]))
        return least_items(self.bound, limit, self.alpha, loss=base)

    def sentence(self, workload: str) -> str:
        """Return the claim in words."""
        things = "questions" if self.kind in get_args(SolveLoss) else "texts"
        return (
            f"With confidence {1 - self.alpha:g} the mean `{self.kind}` of this plan on "
            f"{things} like those of `{workload}` is at most {self.limit:g} "
            f"({MEANS[self.kind]})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the part of a certificate that says what is claimed."""
        return {
            "loss": self.kind,
            "range": [RANGES[self.kind].low, RANGES[self.kind].high],
            "limit": self.limit,
            "confidence": 1 - self.alpha,
            "bound": self.bound.name,
            "source": self.bound.source,
        }


def claim_of(goal: Goal, searched: Iterable[float] = ()) -> Claim:
    """Return the claim that a goal asks for, see `claim_on`."""
    assert goal.confidence is not None
    return claim_on(goal.loss, goal.limit, goal.confidence, searched)


def claim_on(
    kind: LossKind | SolveLoss, limit: float, confidence: float, searched: Iterable[float] = ()
) -> Claim:
    """Return the claim of a largest mean loss, with the bound that suits losses seen in the search.

    Where every item of the search lost nothing or all there is to lose, the exact binomial bound
    is taken: it counts any loss as the largest, so it holds whatever other data look like.
    """
    base, full = NEUTRAL[kind], RANGES[kind]
    seen = set(searched)
    two_valued = bool(seen) and seen <= {base, full.high} and limit > base
    return Claim(
        kind=kind,
        limit=limit,
        alpha=round(1 - confidence, 12),
        bound=BOUNDS["binomial" if two_valued else "betting"],
        scale=Range(base, full.high) if two_valued else full,
    )


def check_size(claim: Claim, items: int, workload: str) -> None:
    """Raise `PlanError` when so few items cannot certify the claim even without any loss."""
    least = claim.least()
    if least is None:
        raise PlanError(
            f"no sample shows a mean `{claim.kind}` of at most {claim.limit:g}: it is what the "
            "base itself has",
            hint="allow a larger loss, or ask for `--lossless`",
        )
    if items < least:
        raise PlanError(
            f"too little data: `{workload}` has {items} {claim.items} apart from those of the "
            f"search, and a {claim.kind} of {claim.limit:g} at confidence {1 - claim.alpha:g} "
            f"takes at least {least} even if none of them loses anything",
            hint=f"give more {claim.items}, of which about half are kept apart, allow a larger "
            "loss, or ask for less confidence",
        )
