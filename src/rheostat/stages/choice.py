"""Choose a point: search dials on the calibration part, take what the goal asks for, say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rheostat.errors import PlanError
from rheostat.stages.ahead import Job, spread
from rheostat.stages.goal import NEUTRAL, WORTH
from rheostat.stages.joint import Joint, held
from rheostat.stages.losses import evaluator
from rheostat.stages.pricing import measured_prices
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.race import OVER
from rheostat.stages.references import References, referred
from rheostat.stages.search_journal import SearchJournal
from rheostat.stages.space import LOSSY, reads_profile, space_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Engine
    from rheostat.stages.ahead import Cluster
    from rheostat.stages.goal import Goal
    from rheostat.stages.joint import Outcome
    from rheostat.stages.losses import Sample
    from rheostat.stages.pricing import Prices
    from rheostat.stages.search import Point
    from rheostat.workloads.load import Workload

Say = Callable[[str], None]


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
    references: References | None = None
    """What the chosen point is held against."""


def search_dials(  # noqa: PLR0913  # what is searched, for what, on what, and where it is kept
    engine: Engine,
    goal: Goal,
    workload: Workload,
    samples: Sequence[Sample],
    say: Say,
    journal: SearchJournal | None = None,
    *,
    formats: Sequence[str] = (),
    cluster: Cluster | None = None,
    prices: Prices = measured_prices,
) -> Found:
    """Search the dials that may reach the goal together, and choose a point.

    Args:
        formats: number formats that may be chosen beside the base's.
        cluster: where losses are measured; None = in this process.
        prices: what passes cost.
    """
    lossy = goal.aim != "lossless"
    known = journal or SearchJournal()
    profile = _profile(engine, say) if lossy else {}
    space = space_of(engine, profile, lossy=lossy, formats=formats)
    joint = Joint(engine, samples, space, known, say, prices=prices)
    base = joint.base(NEUTRAL[goal.loss], len(samples))
    drafts = joint.drafts(base)
    lossless = min([base, *drafts], key=lambda p: p.price_ratio)
    why = [_why_draft(lossless, drafts)]
    if space.unpriced:
        why.append(
            f"not tried: {', '.join(space.unpriced)}; they draft with a model, and what that costs "
            "shows only when they run (`--set` tries one by hand)"
        )
    if lossless.price_ratio > 1 - WORTH:
        lossless = base
    found: Outcome | None = None
    chosen, points = lossless, [base, *drafts]
    if lossy:
        evaluate = evaluator(goal.loss, engine, workload, samples, "calibration")
        job = Job(kind=goal.loss, workload=workload, samples=tuple(samples), part="calibration")
        with spread(evaluate, engine, job, known, cluster) as measured:
            found = joint.run(goal, measured)
        chosen, reason = _chosen(goal, lossless, found.allowed)
        points += found.points
        why += [*_why_lossy(goal, found), *space.left_out, *found.left_out]
        why += [*_why_together(goal, chosen, points), reason]
        say("measuring what chance and fixed choices would have lost at this price")
    references = referred(joint, goal, chosen, None if found is None else evaluate, known)
    return Found(
        chosen=chosen,
        lossless=lossless,
        points=points,
        lossy=() if found is None else found.allowed,
        why=tuple(why),
        references=references,
    )


def _chosen(goal: Goal, lossless: Point, allowed: Sequence[Point]) -> tuple[Point, str]:
    if goal.aim == "max_cost":
        return _least_loss(goal, lossless, allowed)
    best = min((lossless, *allowed), key=lambda p: p.price_ratio)
    if best is lossless or best.price_ratio > lossless.price_ratio - WORTH:
        return lossless, (
            "left every dial with a loss at 0: none that keeps the loss makes the plan at least "
            f"{WORTH:.0%} cheaper than {lossless.name}"
        )
    return best, (
        f"kept {best.name}: the cheapest setting within the limit, predicted at "
        f"{best.price_ratio:.2f} of the base's price"
    )


def _least_loss(goal: Goal, lossless: Point, allowed: Sequence[Point]) -> tuple[Point, str]:
    points = (lossless, *allowed)
    cheap = [p for p in points if p.price_ratio <= goal.limit]
    if not cheap:
        best = min(points, key=lambda p: p.price_ratio)
        raise PlanError(
            f"no setting found costs at most {goal.limit:g} of the base; the cheapest is "
            f"{best.name} at {best.price_ratio:.2f}",
            hint="ask for more of the price, or for `--lossless`",
        )
    best = min(cheap, key=lambda p: (p.loss, p.price_ratio))
    return best, f"kept {best.name}: the smallest loss of the settings that are cheap enough"


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


def _why_lossy(goal: Goal, found: Outcome) -> list[str]:
    measured = found.measured
    if not measured:
        return [f"no method with a loss of the seams {', '.join(LOSSY)} is worth measuring here"]
    gentlest = min(measured, key=lambda p: p.loss)
    over = sum(p.left == OVER for p in measured)
    sentences = [
        f"{len(measured)} settings with a loss measured, {over} of them until they were surely "
        f"over the limit; the gentlest, {gentlest.name}, loses {gentlest.loss:.3f} {goal.loss} "
        f"for a price of {gentlest.price_ratio:.2f}"
    ]
    if goal.aim == "max_loss":
        what = "mean loss" if goal.confidence is not None else "mean loss + 1 standard error"
        sentences.append(f"{found.kept} of them keep {what} <= {goal.limit:g}")
    return sentences


def _why_together(goal: Goal, chosen: Point, points: Sequence[Point]) -> list[str]:
    """Hold a plan of several methods against the best single one that reaches the goal."""
    singles = [p for p in points if len(p.settings) == 1 and p.left != OVER]
    if goal.aim == "max_loss":
        singles = [p for p in singles if p.kind == "draft" or held(goal, p.losses) <= goal.limit]
    if len(chosen.settings) < 2 or not singles:
        return []
    best = min(singles, key=lambda p: p.price_ratio)
    costs = [f"{p.price_ratio:.2f} ({p.costs['price'].low:.2f} to {p.costs['price'].high:.2f})"
             for p in (best, chosen)]  # fmt: skip
    return [f"the best single method, {best.name}, costs {costs[0]}; together {costs[1]}"]


def _profile(engine: Engine, say: Say) -> Mapping[str, Any]:
    """Return the profile when a method of this engine reads one."""
    if not reads_profile(engine):
        return {}
    return cached_profile(engine) or make_profile(engine, progress=say)
