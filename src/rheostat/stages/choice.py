"""Choose a point: sweep the dials on the calibration part, take what the goal asks for, say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rheostat.catalog import methods
from rheostat.errors import PlanError
from rheostat.stages.goal import NEUTRAL
from rheostat.stages.losses import evaluator
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.search import Point, Search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Engine
    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import Sample
    from rheostat.workloads.load import Workload

Say = Callable[[str], None]
WORTH = 0.01
"""A dial is turned only for a predicted saving of at least this share."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the search on the calibration part came to."""

    chosen: Point
    lossless: Point
    """The best point without a loss: what is kept when the chosen one is given up."""
    points: Sequence[Point]
    """All points that were looked at."""
    lossy: Sequence[Point]
    """Those with a loss that the search lets through, alone and with every draft."""
    why: tuple[str, ...]


def search_dials(
    engine: Engine, goal: Goal, workload: Workload, samples: Sequence[Sample], say: Say
) -> Found:
    """Sweep the dials that may reach the goal and choose a point."""
    search = Search(engine, samples, say, neutral=NEUTRAL[goal.loss])
    say("pricing draft sources on the base's answers")
    drafts = list(search.draft_points())
    lossless = min([search.base, *drafts], key=lambda p: p.price_ratio)
    why = [_why_draft(lossless, drafts)]
    if search.unpriced:
        why.append(
            f"left {', '.join(search.unpriced)} out: what drafts by forward passes cost shows only "
            "when they run"
        )
    if lossless.price_ratio > 1 - WORTH:
        lossless = search.base
    if goal.aim == "lossless":
        return Found(
            chosen=lossless,
            lossless=lossless,
            points=[search.base, *drafts],
            lossy=(),
            why=tuple(why),
        )
    say("looking at what the depth methods lose")
    evaluate = evaluator(goal.loss, engine, workload, samples, "calibration")
    limit = goal.limit if goal.aim == "max_loss" else 1.0
    depths = list(search.depth_points(evaluate, _profile(engine, say), limit))
    allowed = [p for p in depths if goal.aim == "max_cost" or within(p, goal) <= goal.limit]
    pairs = [(p, j) for p in allowed for j in search.draft_points(p)]
    joint = [j for p, j in pairs if j.price_ratio <= p.price_ratio - WORTH]
    chosen, reason = _chosen(goal, lossless, [*allowed, *joint])
    why += _why_depth(goal, depths, allowed)
    why += search.left_out
    why.append(reason)
    return Found(
        chosen=chosen,
        lossless=lossless,
        points=[search.base, *drafts, *depths, *(j for _, j in pairs)],
        lossy=[*allowed, *joint],
        why=tuple(why),
    )


def within(point: Point, goal: Goal) -> float:
    """Return what of a point is held against the limit.

    Without a certificate the mean loss plus a standard error; with one the mean alone, because
    what the search lets through is tested on other data.
    """
    return point.loss if goal.confidence is not None else point.cautious


def _chosen(goal: Goal, lossless: Point, joint: Sequence[Point]) -> tuple[Point, str]:
    if goal.aim == "max_cost":
        cheap = [p for p in (lossless, *joint) if p.price_ratio <= goal.limit]
        if not cheap:
            best = min((lossless, *joint), key=lambda p: p.price_ratio)
            raise PlanError(
                f"no setting found costs at most {goal.limit:g} of the base; the cheapest is "
                f"{best.name} at {best.price_ratio:.2f}",
                hint="ask for more of the price, or for `--lossless`",
            )
        best = min(cheap, key=lambda p: (p.loss, p.price_ratio))
        return best, f"kept {best.name}: the smallest loss of the settings that are cheap enough"
    best = min((lossless, *joint), key=lambda p: p.price_ratio, default=lossless)
    if best.price_ratio > lossless.price_ratio - WORTH or best is lossless:
        return lossless, (
            "left every depth dial at 0: none that keeps the loss makes the plan at least "
            f"{WORTH:.0%} cheaper than {lossless.name}"
        )
    return best, (
        f"kept {best.name}: the cheapest setting within the limit, predicted at "
        f"{best.price_ratio:.2f} of the base's price"
    )


def _why_draft(lossless: Point, drafts: Sequence[Point]) -> str:
    if not drafts:
        return "no draft source fits this engine"
    best = min(drafts, key=lambda p: p.price_ratio)
    if lossless.price_ratio > 1 - WORTH:
        return (
            f"left every draft dial at 0: the best, {best.name}, is predicted at "
            f"{best.price_ratio:.2f} of the base's price"
        )
    return f"best draft: {best.name}, predicted at {best.price_ratio:.2f} of the base's price"


def _why_depth(goal: Goal, depths: Sequence[Point], allowed: Sequence[Point]) -> list[str]:
    if not depths:
        return ["no depth method fits this engine"]
    gentlest = min(depths, key=lambda p: p.loss)
    sentence = (
        f"{len(depths)} depth settings measured; the gentlest, {gentlest.name}, loses "
        f"{gentlest.loss:.3f} {goal.loss} for a price of {gentlest.price_ratio:.2f}"
    )
    if goal.aim == "max_cost":
        return [sentence]
    what = "mean loss" if goal.confidence is not None else "mean loss + 1 standard error"
    return [sentence, f"{len(allowed)} of them keep {what} <= {goal.limit:g}"]


def _profile(engine: Engine, say: Say) -> Mapping[str, Any]:
    """Return the profile when a depth method of this engine reads one."""
    reading = [found for found in methods().values() if found.card.reads]
    if not any(found.card.needs <= engine.card.offers for found in reading):
        return {}
    return cached_profile(engine) or make_profile(engine, progress=say)
