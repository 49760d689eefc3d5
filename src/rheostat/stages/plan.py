"""Stage `plan`: find the cheapest setting that keeps what was asked for, and say why it is that.

The search sees the calibration part of the workload alone. What it chose is then measured on the
test part; a setting whose loss there is over the limit is given up for its lossless part, whose
loss is nothing by construction. There is no certificate yet: the interval is a bootstrap's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from rheostat.catalog import installed as install
from rheostat.catalog import methods
from rheostat.engines.base import Sampling
from rheostat.engines.load import load_engine
from rheostat.engines.machine import machine
from rheostat.errors import PlanError
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.intervals import mean_interval
from rheostat.stages.losses import LossKind, Sample, base_samples, evaluator
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.search import Point, Search, frontier
from rheostat.stages.side_by_side import side_by_side
from rheostat.workloads.load import Workload, load_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Engine

Say = Callable[[str], None]
Aim = Literal["lossless", "max_loss", "max_cost"]
CALIBRATION_ITEMS = 12
TEST_ITEMS = 12
NEUTRAL: Mapping[LossKind, float] = {"disagree": 0.0, "score": 0.5, "nats": 0.0}
"""What the base loses against itself in each unit."""
WORTH = 0.01
"""A dial is turned only for a predicted saving of at least this share."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the user asked for."""

    aim: Aim
    limit: float = 0.0
    """Largest loss, or the price as a share of the base's."""
    loss: LossKind = "disagree"


def make_plan(  # noqa: PLR0913  # the options of `rheostat plan`
    model: str | Engine,
    workload: str,
    *,
    lossless: bool = False,
    max_loss: float | None = None,
    loss: LossKind | None = None,
    max_cost: float | None = None,
    dtype: str = "float32",
    threads: int | None = None,
    seed: int = 0,
    max_new_tokens: int = 128,
    items: int | None = None,
    progress: Say | None = None,
    confidence: float | None = None,
) -> Plan:
    """Search dials on a workload and return the plan.

    Args:
        model: a name or path, or an engine that is already loaded (then `dtype` and `threads` are
            the engine's).
        workload: a built-in name or a JSONL file.
        lossless: keep the base's tokens.
        max_loss: largest mean loss, in the unit of `loss`.
        max_cost: largest price, as a share of the base's.
        items: items of each part to measure on; None = 12.
        confidence: refused until certified plans exist.

    Raises:
        PlanError: not exactly one of `lossless`, `max_loss` and `max_cost`, a bad value, or no
            plan that cheap.
    """
    goal = checked_goal(lossless=lossless, max_loss=max_loss, loss=loss, max_cost=max_cost)
    if confidence is not None:
        raise PlanError(
            "`--confidence` asks for a certificate, and this version makes none",
            hint="leave it out: the plan then carries a measured loss with its interval",
        )
    if items is not None and items < 2:
        raise PlanError(f"`--items` must be at least 2, got `{items}`")
    say = progress or _silent
    engine = (
        load_engine(model, dtype=dtype, threads=threads, progress=say)
        if isinstance(model, str)
        else model
    )
    sampling = Sampling(max_new_tokens=max_new_tokens)
    calibration = load_workload(
        workload, part="calibration", limit=items or CALIBRATION_ITEMS, seed=seed
    )
    samples = base_samples(engine, calibration, sampling, say)
    found = _searched(engine, goal, calibration, samples, say)
    test = load_workload(workload, part="test", limit=items or TEST_ITEMS, seed=seed)
    return _measured(engine, goal, found, test, sampling, say)


def checked_goal(
    *, lossless: bool, max_loss: float | None, loss: LossKind | None, max_cost: float | None
) -> Goal:
    """Return the goal, or raise `PlanError` when it is not exactly one, in its range."""
    given = [lossless, max_loss is not None, max_cost is not None]
    if sum(given) != 1:
        raise PlanError(
            "a plan needs exactly one of `--lossless`, `--max-loss` and `--max-cost`",
            hint="`--lossless` keeps every token; `--max-loss 0.05 --loss disagree` allows 5 %",
        )
    if loss is not None and loss not in ("disagree", "score", "nats"):
        raise PlanError(f"there is no loss `{loss}`", hint="choose `disagree`, `score` or `nats`")
    if max_loss is not None:
        if not 0 <= max_loss <= 1:
            raise PlanError(f"`--max-loss` must be from 0 to 1, got `{max_loss}`")
        if loss is None:
            raise PlanError("`--max-loss` needs `--loss`", hint="add `--loss disagree`")
        if max_loss < NEUTRAL[loss]:
            raise PlanError(
                f"`--max-loss {max_loss:g} --loss {loss}` is under what the base itself loses, "
                f"{NEUTRAL[loss]:g}",
                hint=f"a `{loss}` of {NEUTRAL[loss]:g} is the base's quality, more is worse",
            )
        return Goal(aim="max_loss", limit=max_loss, loss=loss)
    if max_cost is not None:
        if not 0 < max_cost <= 1:
            raise PlanError(
                f"`--max-cost` must be over 0 and at most 1, got `{max_cost}`",
                hint="it is a share of the base's price, such as 0.8",
            )
        return Goal(aim="max_cost", limit=max_cost, loss=loss or "disagree")
    return Goal(aim="lossless")


@dataclass(frozen=True, kw_only=True)
class _Found:
    chosen: Point
    lossless: Point
    points: Sequence[Point]
    why: tuple[str, ...]


def _searched(
    engine: Engine, goal: Goal, workload: Workload, samples: Sequence[Sample], say: Say
) -> _Found:
    search = Search(engine, samples, say, neutral=NEUTRAL[goal.loss])
    drafts = list(search.draft_points())
    lossless = min([search.base, *drafts], key=lambda p: p.price_ratio)
    why = [_why_draft(lossless, drafts)]
    if lossless.price_ratio > 1 - WORTH:
        lossless = search.base
    if goal.aim == "lossless":
        return _Found(
            chosen=lossless, lossless=lossless, points=[search.base, *drafts], why=tuple(why)
        )
    say("looking at what the depth methods lose")
    evaluate = evaluator(goal.loss, engine, workload, samples, "calibration")
    limit = goal.limit if goal.aim == "max_loss" else 1.0
    depths = list(search.depth_points(evaluate, _profile(engine, say), limit))
    allowed = [p for p in depths if goal.aim == "max_cost" or p.cautious <= goal.limit]
    joint = [j for p in allowed for j in (p, *search.draft_points(p))]
    chosen, reason = _chosen(goal, lossless, joint)
    why += _why_depth(goal, depths, allowed)
    why.append(reason)
    return _Found(
        chosen=chosen,
        lossless=lossless,
        points=[search.base, *drafts, *depths, *joint],
        why=tuple(why),
    )


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
    return [sentence, f"{len(allowed)} of them keep mean loss + 1 standard error <= {goal.limit:g}"]


def _profile(engine: Engine, say: Say) -> Mapping[str, Any]:
    """Return the profile when a depth method of this engine reads one."""
    reading = [found for found in methods().values() if found.card.reads]
    if not any(found.card.needs <= engine.card.offers for found in reading):
        return {}
    return cached_profile(engine) or make_profile(engine, progress=say)


def _measured(  # noqa: PLR0913  # one value a step of the search
    engine: Engine, goal: Goal, found: _Found, test: Workload, sampling: Sampling, say: Say
) -> Plan:
    """Measure the chosen point on the test part; give it up when it loses too much there."""
    chosen, why = found.chosen, list(found.why)
    samples = base_samples(engine, test, sampling, say)
    plan = _plan(engine, chosen)
    values = _losses(engine, goal, chosen, plan, test, samples)
    if goal.aim == "max_loss" and sum(values) / len(values) > goal.limit:
        why.append(
            f"gave {chosen.name} up: on held-out items it loses {sum(values) / len(values):.3f}, "
            f"over the limit {goal.limit:g}; what is kept is {found.lossless.name}"
        )
        chosen = found.lossless
        plan = _plan(engine, chosen)
        values = _losses(engine, goal, chosen, plan, test, samples)
    compared = side_by_side(engine, plan, samples, sampling, say)
    kept = frontier(found.points)
    measured = {
        "loss_kind": goal.loss,
        "loss": sum(values) / len(values),
        "loss_interval": list(mean_interval(values)),
        **compared.to_json(),
        "workload": test.name,
        "workload_digest": test.digest,
    }
    predicted = {
        "price_ratio": chosen.price_ratio,
        "loss": chosen.loss,
        "loss_kind": goal.loss,
        "frontier": [p.to_json(kept=p == chosen) for p in frontier_and_chosen(kept, chosen)],
        "tried": [p.to_json(kept=p == chosen) for p in found.points],
    }
    return replace(plan, predicted=predicted, measured=measured, why=tuple(why))


def frontier_and_chosen(kept: Sequence[Point], chosen: Point) -> list[Point]:
    """Return the frontier with the chosen point in it."""
    return list(kept) if chosen in kept else [*kept, chosen]


def _plan(engine: Engine, point: Point) -> Plan:
    return Plan(
        model=engine.model,
        digest=engine.digest,
        machine=machine().name,
        dtype=engine.dtype,
        methods=point.settings,
    )


def _losses(  # noqa: PLR0913  # what a loss is measured of, on and with
    engine: Engine,
    goal: Goal,
    point: Point,
    plan: Plan,
    test: Workload,
    samples: Sequence[Sample],
) -> tuple[float, ...]:
    """Return the held-out losses; a setting without a lossy method loses nothing."""
    if not any(_is_lossy(setting) for setting in point.settings):
        return (NEUTRAL[goal.loss],) * len(samples)
    decision = install(plan, engine.shape, engine.card.offers)
    return evaluator(goal.loss, engine, test, samples, "test")(decision).values


def _is_lossy(setting: Setting) -> bool:
    return methods()[setting.name].card.exactness == "lossy"


def _silent(_: str) -> None:
    return
