"""Stage `plan` for questions to solve: number format, rule, dial and most samples, from recordings.

The search sees the calibration part of the questions alone and replays every setting there. What
it chose is then measured on the test part, and so are the safer settings on the way to it, as with
dials of the model (`stages/plan.py`); with a confidence the test part certifies a frozen path.
Where nothing is left, the plan is the base: the majority of all samples in the first recording.

A loss is told a question at a time, a mean over orders of its samples; `wrong` counts what the plan
newly gets right against what it newly gets wrong, as the loss `score` does, but in shares of the
questions: 0 is the base's quality, 0.02 are two right answers less in a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from rheostat.errors import PlanError
from rheostat.kernel.certify.fallback import certified
from rheostat.kernel.certify.seal import sealed
from rheostat.kernel.plan import Plan
from rheostat.stages.certify import Tested, Verdict, path_digest
from rheostat.stages.claim import check_size, claim_on
from rheostat.stages.goal import WORTH, SolveLoss, check_confidence
from rheostat.stages.intervals import mean_interval
from rheostat.stages.recordings import is_judged, parts_of, read_recordings
from rheostat.stages.sample_rules import FIXED, choices
from rheostat.stages.sample_search import Replays, path_of, search, shares
from rheostat.stages.search import falling, frontier, frontier_and_chosen
from rheostat.workloads.load import digest_of
from rheostat.workloads.marks import mark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.stages.recordings import Material
    from rheostat.stages.sample_rules import Choice
    from rheostat.stages.sample_search import Figures, Searched, Way
    from rheostat.workloads.parts import Part
    from rheostat.workloads.tasks import Tasks

    Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SamplesGoal:
    """What a plan of samples is asked for."""

    limit: float
    """Largest mean loss."""
    loss: SolveLoss = "wrong"
    confidence: float | None = None
    """Of the certificate; None = none is asked for."""


def checked_samples_goal(
    *, max_loss: float | None, loss: str | None = None, confidence: float | None = None
) -> SamplesGoal:
    """Return the goal, or raise `PlanError` for one out of range."""
    if max_loss is None:
        raise PlanError(
            "a plan of samples needs a largest loss",
            hint="`--max-loss 0.02`: of a hundred questions two may be answered wrongly that the "
            "majority of all samples answers rightly",
        )
    if not 0 <= max_loss <= 1:
        raise PlanError(f"`--max-loss` must be from 0 to 1, got `{max_loss:g}`")
    if confidence is not None:
        check_confidence(confidence)
    if loss in (None, "wrong"):
        return SamplesGoal(limit=max_loss, confidence=confidence)
    if loss == "other":
        return SamplesGoal(limit=max_loss, loss="other", confidence=confidence)
    listed = " or ".join(f"`{name}`" for name in get_args(SolveLoss))
    raise PlanError(f"there is no loss `{loss}` of samples", hint=f"choose {listed}")


def plan_samples(
    recordings: Sequence[str], goal: SamplesGoal, *, seed: int = 0, progress: Say | None = None
) -> Plan:
    """Search on some of the recorded questions, and show or certify on the others.

    Args:
        recordings: `replay:STORE` each, one a number format; the base is of the first.
        goal: what may be lost.
        seed: orders the questions of each part.
        progress: called with a line of text when something takes a while.

    Raises:
        PlanError: nothing says what is right, the recordings do not fit together, or there is too
            little data for a certificate.
        OutputError, ModelError, WorkloadError: as for `read_recordings`.
    """
    say = progress or _silent
    material = read_recordings(recordings, seed=seed)
    check_tasks(material.tasks, goal)
    replays = Replays(material.formats["calibration"], goal.loss, material.samples)
    settings = choices(replays.dtypes, material.samples, offers=material.offers)
    found = search(
        replays,
        [own for own in settings if own != replays.of_base],
        limit=goal.limit,
        unit=material.unit,
        mean=goal.confidence is not None,
        say=say,
    )
    return planned(material, goal, found, say)


def check_tasks(tasks: Tasks, goal: SamplesGoal) -> None:
    """Refuse tasks on which no plan can be made, before anything is drawn.

    Raises:
        WorkloadError: there are too few.
        PlanError: nothing says what is right, or there are too few for a certificate.
    """
    parts = parts_of(tasks)
    if goal.loss == "wrong" and not is_judged(tasks):
        raise PlanError(
            f"nothing says which answers to `{tasks.name}` are right",
            hint="give every question a `reference`, or take `--loss other`: how often the plan "
            "answers otherwise than the base",
        )
    if goal.confidence is not None:
        claim = claim_on(goal.loss, goal.limit, goal.confidence)
        check_size(claim, len(parts["test"]), tasks.name)


def planned(material: Material, goal: SamplesGoal, found: Searched, say: Say) -> Plan:
    """Show or certify on the test part what a search has found."""
    test = Replays(material.formats["test"], goal.loss, material.samples)
    why = _why(material, goal, found)
    if goal.confidence is None:
        chosen, gave_up = _walked(test, goal, found, say)
        return _plan(material, goal, found, chosen, test, [*why, *gave_up])
    verdict = certify(found, goal, test.figures, say)
    tested = verdict.chosen
    chosen = tested.point if tested else found.base
    plan = _plan(material, goal, found, chosen, test, [*why, *verdict.why()])
    if tested is None:
        return _with_path(plan, verdict)
    return sealed(plan, _certificate(material, verdict, plan.machine))


def _walked(
    test: Replays, goal: SamplesGoal, found: Searched, say: Say
) -> tuple[Way, Sequence[str]]:
    """Walk the search's path to the chosen setting, up to the first that loses too much here."""
    steps = [p for p in path_of(found) if p.price_ratio > found.chosen.price_ratio]
    chosen = found.base
    for step in [*falling(steps), found.chosen]:
        say(f"measuring {step.name} on {len(test.base.right)} other questions")
        loss = float(test.figures(step.choice).losses.mean())
        if loss > goal.limit:
            return chosen, [
                f"gave {step.name} up: on held-out questions it loses {loss:.3f}, over the limit "
                f"{goal.limit:g}; what is kept is {chosen.name}"
            ]
        chosen = step
    return chosen, [_why_chosen(found)]


def certify(
    found: Searched, goal: SamplesGoal, figures: Callable[[Choice], Figures], say: Say
) -> Verdict[Way]:
    """Test the search's path on questions that the search did not see.

    Args:
        figures: what a setting comes to on them.
    """
    assert goal.confidence is not None
    path = path_of(found)
    seen = (loss for way in path for loss in way.figures.losses.tolist())
    claim = claim_on(goal.loss, goal.limit, goal.confidence, seen)
    tested: list[Tested[Way]] = []

    def p_value(way: Way, level: float) -> float:
        say(f"certifying {way.name} on the other questions")
        values = tuple(figures(way.choice).losses.tolist())
        own = claim.p_value(values)
        tested.append(Tested(point=way, values=values, p_value=own, level=level, items=None))
        return own

    certified(path, lambda way: way.price_ratio, p_value, claim.alpha)
    opened = len(tested[0].values) if tested else 0
    return Verdict(claim=claim, path=tuple(path), tested=tuple(tested), opened=opened)


def _plan(  # noqa: PLR0913  # a plan, what it was chosen from, and where it is shown
    material: Material,
    goal: SamplesGoal,
    found: Searched,
    chosen: Way,
    test: Replays,
    why: Sequence[str],
) -> Plan:
    points = [found.base, *found.ways]
    kept = frontier_and_chosen(frontier(points), chosen)
    return Plan(
        model=material.model,
        digest=material.digest,
        machine=material.machine,
        dtype=chosen.choice.dtype,
        methods=chosen.settings,
        draws={"samples": chosen.choice.samples, "sampling": dict(material.sampling)},
        predicted={
            "price_ratio": chosen.price_ratio,
            "unit": material.unit,
            "loss": chosen.loss,
            "loss_kind": goal.loss,
            "limit": goal.limit,
            "base": found.base.to_json(kept=False),
            "frontier": [p.to_json(kept=p is chosen) for p in kept],
            "tried": [p.to_json(kept=p is chosen) for p in points],
        },
        measured=_measured(material, goal, test.figures(chosen.choice), test.base),
        why=tuple(why),
    )


def _measured(material: Material, goal: SamplesGoal, own: Figures, base: Figures) -> dict[str, Any]:
    """Return what a setting came to on the test part, against the base there."""
    losses, costs = own.losses.tolist(), shares(own, base)
    return {
        "loss_kind": goal.loss,
        "loss_items": len(losses),
        "loss": float(own.losses.mean()),
        "loss_interval": list(mean_interval(losses)),
        "accuracy": float(own.right.mean()) if material.judged else None,
        "accuracy_interval": list(mean_interval(own.right.tolist())) if material.judged else None,
        "base_accuracy": float(base.right.mean()) if material.judged else None,
        "price_ratio": costs[material.unit][0],
        "costs": costs,
        "samples_per_question": float(own.samples.mean()),
        "workload": material.tasks.name,
        "workload_digest": digest_of(material.requests["test"]),
    }


def _with_path(plan: Plan, verdict: Verdict[Way]) -> Plan:
    return replace(plan, measured={**plan.measured, "path": verdict.path_json()})


def _certificate(material: Material, verdict: Verdict[Way], machine: str) -> dict[str, Any]:
    """Return the certificate of the setting that was chosen, without its seal."""
    chosen, claim = verdict.chosen, verdict.claim
    assert chosen is not None
    return {
        "claim": claim.sentence(material.tasks.name),
        **claim.to_json(),
        "mean": chosen.mean,
        "upper": chosen.upper(claim),
        "measured_items": len(chosen.values),
        "data": _data(material, "test"),
        "search": _data(material, "calibration"),
        "path": verdict.path_json(),
        "path_digest": path_digest(verdict.path),
        "base": {"dtype": material.formats["test"][0].dtype, "samples": material.samples},
        "machine": machine,
    }


def _data(material: Material, part: Part) -> dict[str, Any]:
    requests = material.requests[part]
    return {
        "workload": material.tasks.name,
        "digest": digest_of(requests),
        "split": part,
        "size": len(requests),
        "seed": material.seed,
        "items": [mark(False, request) for request in requests],
    }


def _why(material: Material, goal: SamplesGoal, found: Searched) -> list[str]:
    """Say what was searched on what, and what a fixed number of samples alone would have given."""
    base, dtypes = found.base, [own.dtype for own in material.formats["calibration"]]
    right = f", right on {base.figures.right.mean():.3f} of them" if material.judged else ""
    by = {
        "seconds": "the predicted seconds that the recordings tell of each sample",
        "tokens": "tokens read and written: the recordings tell no predicted seconds",
    }[material.unit]
    if material.unit == "tokens" and len(dtypes) > 1:
        by += ", and tokens do not tell what one in another number format costs"
    compared = "mean loss" if goal.confidence is not None else "mean loss + 1 standard error"
    return [
        f"chosen on {len(base.figures.right)} questions; the base is {base.name}{right}",
        f"{len(found.ways)} settings replayed in {' and '.join(dtypes)}: fixed numbers of samples, "
        f"and {_rules(found)} rules at their dials; prices are {by}",
        f"{found.kept} of them keep {compared} <= {goal.limit:g}",
        *_why_fixed(found),
    ]


def _rules(found: Searched) -> int:
    return len({own.choice.rule for own in found.ways} - {FIXED})


def _why_fixed(found: Searched) -> list[str]:
    """Hold the chosen setting against the cheapest fixed number of samples within the limit."""
    fixed = [
        own
        for own in found.allowed
        if own.choice.rule == FIXED and own.choice.dtype == found.base.choice.dtype
    ]
    if found.chosen is found.base or found.chosen in fixed:
        return []
    if not fixed:
        return [f"no smaller number of samples in {found.base.choice.dtype} alone keeps that"]
    best = min(fixed, key=lambda own: own.price_ratio)
    return [
        f"the cheapest fixed number within it, {best.name}, costs {best.price_ratio:.2f} of the "
        "base's price"
    ]


def _why_chosen(found: Searched) -> str:
    if found.chosen is found.base:
        return f"kept the base: no setting within the limit is at least {WORTH:.0%} cheaper"
    return (
        f"kept {found.chosen.name}: the cheapest setting within the limit, predicted at "
        f"{found.chosen.price_ratio:.2f} of the base's price"
    )


def _silent(_: str) -> None:
    return
