"""Stage `plan`: find the cheapest setting that keeps what was asked for, and say why it is that.

The search sees the calibration part of the workload alone. What it chose is then measured on the
test part, and so are the safer settings on the way to it; where one loses too much there, what is
kept is the last before it, in the end what is lossless by construction. With a confidence the test
part certifies instead: a path that the search has frozen is walked there, and the plan is what was
certified, or lossless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rheostat.catalog import installed as install
from rheostat.catalog import methods
from rheostat.engines.base import Sampling
from rheostat.engines.machine import machine
from rheostat.errors import PlanError
from rheostat.kernel.certify.seal import sealed
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.certify import certificate, certify, path_of
from rheostat.stages.choice import search_dials
from rheostat.stages.claim import check_size, claim_of
from rheostat.stages.goal import NEUTRAL, checked_goal
from rheostat.stages.intervals import mean_interval
from rheostat.stages.losses import Loss, evaluator
from rheostat.stages.material import Material
from rheostat.stages.oracle import in_hindsight, sentences
from rheostat.stages.search import falling, frontier, frontier_and_chosen, setting_name
from rheostat.stages.search_journal import SearchJournal
from rheostat.workloads.load import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rheostat.engines.base import Engine
    from rheostat.stages.choice import Found
    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import LossKind, Sample
    from rheostat.stages.search import Point

Say = Callable[[str], None]


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
    journal: Path | None = None,
    precisions: Sequence[str] = (),
    ray: str | None = None,
) -> Plan:
    """Search dials on a workload and return the plan.

    Args:
        model: a name or path, or an engine that is already loaded (then `dtype` and `threads` are
            the engine's).
        workload: a built-in name or a JSONL file.
        lossless: keep the base's tokens.
        max_loss: largest mean loss, in the unit of `loss`.
        max_cost: largest price, as a share of the base's.
        items: items of each part to measure on; None = 12, and up to 300 to certify on.
        confidence: of a certificate that the mean loss is at most `max_loss` on unseen texts.
        journal: a file that keeps every measurement, with which a stopped search goes on.
        precisions: number formats that the plan may choose, `gguf` and `bfloat16`; their losses
            are told against the base in its own.
        ray: address of a cluster whose workers measure losses; `local` starts one here.

    Raises:
        PlanError: not exactly one of `lossless`, `max_loss` and `max_cost`, a bad value, no
            plan that cheap, or too little data for a certificate.
    """
    goal = checked_goal(
        lossless=lossless, max_loss=max_loss, loss=loss, max_cost=max_cost, confidence=confidence
    )
    say = progress or _silent
    material = Material(
        model,
        workload,
        sampling=Sampling(max_new_tokens=max_new_tokens),
        dtype=dtype,
        threads=threads,
        seed=seed,
        items=items,
        certifies=None if goal.confidence is None else goal.loss,
        journal=SearchJournal(journal),
        precisions=precisions,
        ray=ray,
    )
    material.check(goal)
    if goal.confidence is not None:
        check_size(claim_of(goal), len(material.parts["test"].items), material.parts["test"].name)
    return planned(material, goal, say)


def planned(material: Material, goal: Goal, say: Say) -> Plan:
    """Search on the calibration part; measure what was chosen on the test part."""
    engine, calibration = material.engine(say), material.parts["calibration"]
    if not engine.card.offers:
        raise PlanError(
            f"`{engine.model}` runs on the engine `{engine.card.name}`, which offers nothing to "
            "methods, so there is nothing to plan",
            hint=f"run it without a plan: `rheostat run base:{engine.model} --requests R.jsonl "
            "--out DIR`",
        )
    material.journal.count_anew()
    samples = material.samples("calibration", say)
    found = search_dials(
        engine,
        goal,
        calibration,
        samples,
        say,
        material.journal,
        formats=material.precisions,
        cluster=material.cluster,
        prices=material.prices,
    )
    spent = {"search": material.journal.seconds}
    if goal.confidence is not None:
        return _certified(material, goal, found, say, spent)
    return _with_spent(_measured(material, goal, found, say), spent)


def _measured(material: Material, goal: Goal, found: Found, say: Say) -> Plan:
    """Measure on the test part what the search chose, and the steps towards it.

    Under a largest loss the search's path is walked from its safest setting to the chosen one, up
    to the first that loses too much on unseen items; what is kept is the last before that.
    """
    engine = material.engine(say)
    samples = material.samples("test", say)
    steps = [found.chosen]
    if goal.aim == "max_loss" and found.chosen is not found.lossless:
        dearer = [p for p in path_of(found) if p.price_ratio > found.chosen.price_ratio]
        steps = [*falling(dearer), found.chosen]
    chosen, why = found.lossless, list(found.why)
    values: tuple[float, ...] = (NEUTRAL[goal.loss],) * len(samples)
    for point in steps:
        losses = _losses(material, goal, _plan(engine, point), samples, say)
        mean = sum(losses) / len(losses)
        if goal.aim == "max_loss" and mean > goal.limit:
            why.append(
                f"gave {point.name} up: on held-out items it loses {mean:.3f}, over the limit "
                f"{goal.limit:g}; what is kept is {chosen.name}"
            )
            break
        chosen, values = point, losses
    plan = _described(material, goal, found, chosen, _plan(engine, chosen), say)
    return _with_losses(plan, goal, values, why)


def _with_spent(plan: Plan, spent: Mapping[str, float]) -> Plan:
    """Return the plan with the seconds that its measurements took, by what they were for."""
    return replace(plan, measured={**plan.measured, "spent": dict(spent)})


def _certified(
    material: Material, goal: Goal, found: Found, say: Say, spent: Mapping[str, float]
) -> Plan:
    """Certify a path on the test part; without a certificate what is kept is lossless."""
    engine, verdict = material.engine(say), certify(material, goal, found, say)
    spent = {**spent, "certification": material.journal.seconds - spent["search"]}
    tested = verdict.chosen
    chosen = tested.point if tested else found.lossless
    plan = _described(material, goal, found, chosen, _plan(engine, chosen), say)
    size = len(material.parts["test"].items)
    values = tested.values if tested else (NEUTRAL[goal.loss],) * size
    why = [*found.why[:-1], *verdict.why()]
    plan = _with_spent(_with_losses(plan, goal, values, why), spent)
    if tested:
        return sealed(plan, certificate(material, goal, verdict, plan.machine))
    return replace(plan, measured={**plan.measured, "path": verdict.path_json()})


def _described(  # noqa: PLR0913  # a plan, what it was chosen from, and by what
    material: Material, goal: Goal, found: Found, chosen: Point, plan: Plan, say: Say
) -> Plan:
    """Return the plan with what is predicted of it, and its price and seconds on the test part."""
    test, kept = material.parts["test"], frontier(found.points)
    predicted = {
        "price_ratio": chosen.price_ratio,
        "loss": chosen.loss,
        "loss_kind": goal.loss,
        "frontier": [p.to_json(kept=p == chosen) for p in frontier_and_chosen(kept, chosen)],
        "tried": [p.to_json(kept=p == chosen) for p in found.points],
        "limit": goal.limit if goal.aim == "max_loss" else None,
        "references": (
            found.references.to_json() if found.references and chosen == found.chosen else None
        ),
        "oracle": in_hindsight(
            material.engine(say),
            material.samples("calibration", say),
            goal,
            chosen,
            found.points,
            material.prices,
        ),
    }
    measured = {
        **material.compared(plan, say).to_json(),
        "workload": test.name,
        "workload_digest": test.digest,
    }
    return replace(plan, predicted=predicted, measured=measured)


def _with_losses(plan: Plan, goal: Goal, values: Sequence[float], why: Sequence[str]) -> Plan:
    losses = {
        "loss_kind": goal.loss,
        "loss_items": len(values),
        "loss": sum(values) / len(values),
        "loss_interval": list(mean_interval(values)),
    }
    said = (*why, *sentences(plan.predicted["oracle"]))
    return replace(plan, measured={**losses, **plan.measured}, why=said)


def _plan(engine: Engine, point: Point) -> Plan:
    return Plan(
        model=engine.model,
        digest=engine.digest,
        machine=machine().name,
        dtype=engine.dtype,
        methods=point.settings,
    )


def _losses(
    material: Material, goal: Goal, plan: Plan, samples: Sequence[Sample], say: Say
) -> tuple[float, ...]:
    """Return the held-out losses; a setting without a lossy method loses nothing."""
    if not any(_is_lossy(setting) for setting in plan.methods):
        return (NEUTRAL[goal.loss],) * len(samples)
    engine, test = material.engine(_silent), material.parts["test"]
    say(f"measuring what {' + '.join(map(setting_name, plan.methods))} loses on unseen items")
    evaluate = evaluator(goal.loss, engine, test, samples, "test")
    data = material.journal.part(
        ["held out", goal.loss, [s.to_json() for s in plan.methods], digest_of(evaluate.items)],
        lambda: evaluate(install(plan, engine.shape, engine.card.offers)).to_json(),
        about=f"what the plan loses on {len(evaluate.items)} unseen items",
    )
    return Loss.from_json(data).values


def _is_lossy(setting: Setting) -> bool:
    return methods()[setting.name].card.exactness == "lossy"


def _silent(_: str) -> None:
    return
