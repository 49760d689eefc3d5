"""What a plan is asked for: every token kept, a largest loss, or a largest price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rheostat.errors import PlanError
from rheostat.kernel.certify.losses import Range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.stages.losses import LossKind

Aim = Literal["lossless", "max_loss", "max_cost"]
SolveLoss = Literal["wrong", "other"]
"""What a plan of samples loses on a question.

`wrong`: right answers of the base - right answers of the plan, in [-1, 1]: the mean is the share of
questions that the plan answers wrongly and the base does not, minus those that it newly gets right.
`other`: 1 where the plan answers otherwise than the base, which takes no references.
"""
WORTH = 0.01
"""A dial is turned only for a predicted saving of at least this share."""
NEUTRAL: Mapping[LossKind | SolveLoss, float] = {
    "disagree": 0.0,
    "score": 0.5,
    "nats": 0.0,
    "wrong": 0.0,
    "other": 0.0,
}
"""What the base loses against itself in each unit."""
RANGES: Mapping[LossKind | SolveLoss, Range] = {
    "disagree": Range(0.0, 1.0),
    "score": Range(0.0, 1.0),
    "nats": Range(-1.0, 1.0),
    "wrong": Range(-1.0, 1.0),
    "other": Range(0.0, 1.0),
}
"""Where the loss of an item lies in each unit."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the user asked for."""

    aim: Aim
    limit: float = 0.0
    """Largest loss, or the price as a share of the base's."""
    loss: LossKind = "disagree"
    confidence: float | None = None
    """Of the certificate; None = none is asked for."""


def checked_goal(
    *,
    lossless: bool = False,
    max_loss: float | None = None,
    loss: LossKind | None = None,
    max_cost: float | None = None,
    confidence: float | None = None,
) -> Goal:
    """Return the goal, or raise `PlanError` when it is not exactly one, in its range."""
    given = [lossless, max_loss is not None, max_cost is not None]
    if sum(given) != 1:
        raise PlanError(
            "a plan needs exactly one of `--lossless`, `--max-loss` and `--max-cost`",
            hint="`--lossless` keeps every token; `--max-loss 0.05 --loss disagree` allows 5 %",
        )
    if confidence is not None:
        _check_certified(confidence, max_loss)
    if loss is not None and loss not in ("disagree", "score", "nats"):
        raise PlanError(f"there is no loss `{loss}`", hint="choose `disagree`, `score` or `nats`")
    if max_loss is not None:
        if not 0 <= max_loss <= 1:
            raise PlanError(f"`--max-loss` must be from 0 to 1, got `{max_loss}`")
        if loss is None:
            raise PlanError(
                "`--max-loss` needs `--loss`",
                hint="add what is counted: `--loss disagree` (share of tokens that differ), "
                "`score` (worse answers, by a reference) or `nats` (excess on your text)",
            )
        if max_loss < NEUTRAL[loss]:
            raise PlanError(
                f"`--max-loss {max_loss:g} --loss {loss}` is under what the base itself loses, "
                f"{NEUTRAL[loss]:g}",
                hint=f"a `{loss}` of {NEUTRAL[loss]:g} is the base's quality, more is worse",
            )
        return Goal(aim="max_loss", limit=max_loss, loss=loss, confidence=confidence)
    if max_cost is not None:
        if not 0 < max_cost <= 1:
            raise PlanError(
                f"`--max-cost` must be over 0 and at most 1, got `{max_cost}`",
                hint="it is a share of the base's price, such as 0.8",
            )
        return Goal(aim="max_cost", limit=max_cost, loss=loss or "disagree")
    return Goal(aim="lossless")


def _check_certified(confidence: float, max_loss: float | None) -> None:
    check_confidence(confidence)
    if max_loss is None:
        raise PlanError(
            "`--confidence` certifies a largest loss, and none is asked for",
            hint="add `--max-loss 0.05 --loss disagree`; a lossless plan loses nothing by "
            "construction and needs no certificate",
        )


def check_confidence(confidence: float) -> None:
    """Refuse a confidence of a certificate outside its range."""
    if not 0.5 <= confidence < 1:
        raise PlanError(
            f"`--confidence` must be from 0.5 to under 1, got `{confidence:g}`",
            hint="0.95 means: of 20 such certificates, 1 may be wrong",
        )
