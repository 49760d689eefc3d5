"""Stage `check`: hold a certificate against texts that the plan was not made from.

Items are measured eight at a time until the confidence sequence of all checks so far lies on one
side of the limit; it may be looked at as often as one likes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rheostat.catalog import installed as install
from rheostat.engines.base import Sampling
from rheostat.errors import PlanError, WorkloadError
from rheostat.kernel.certify.betting import Interval, confidence_sequence
from rheostat.stages.check_state import CheckState, open_state
from rheostat.stages.goal import RANGES
from rheostat.stages.losses import BATCH, base_samples, check_references, evaluator, nats
from rheostat.workloads.load import digest_of, load_workload
from rheostat.workloads.marks import marks, refuse_overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rheostat.engines.base import Engine, Request
    from rheostat.kernel.plan import Plan
    from rheostat.stages.losses import LossKind
    from rheostat.workloads.load import Workload

    Say = Callable[[str], None]

Decision = Literal["pass", "fail", "undecided"]
STATE = ".checks.jsonl"
GROWTH, FURTHEST, DRAWS = 1.5, 50_000, 20


def checked_certificate(plan: Plan) -> Mapping[str, Any]:
    """Return the plan's certificate; raise `PlanError` where there is none on texts."""
    if plan.draws:
        raise PlanError(
            "certificates are checked on texts, and this plan solves questions",
            hint="record other questions, and certify again: `rheostat plan replay:STORE "
            "--max-loss X --confidence C --out plan.json`",
        )
    if plan.certificate is None:
        raise PlanError(
            "the plan has no certificate to check",
            hint="make one with `rheostat plan MODEL --workload W --max-loss X --loss L "
            "--confidence 0.95 --out plan.json`",
        )
    return plan.certificate


def unseen(certificate: Mapping[str, Any], name: str, *, seed: int = 0) -> Workload:
    """Return the items of a workload that the plan was not made from.

    Raises:
        WorkloadError: a file holds items that were used, or a built-in workload no others.
        PlanError: the loss needs references and there are none.
    """
    workload = load_workload(name, seed=seed, shuffled=True)
    used = {item for part in ("search", "data") for item in certificate[part]["items"]}
    if workload.kind == "file":
        refuse_overlap(marks(workload), used, subject=name, what="making this plan")
    pairs = zip(marks(workload), workload.items, strict=True)
    items = tuple(item for mark, item in pairs if mark not in used)
    if not items:
        raise WorkloadError(
            f"the plan was made from every item of `{name}`", hint="give a file of other texts"
        )
    found = _part(workload, items)
    check_references(certificate["loss"], found)
    return found


def check(  # noqa: PLR0913  # what is checked, on what, and where it is kept
    plan: Plan,
    workload: Workload,
    engine: Engine,
    state: Path,
    *,
    items: int | None = None,
    say: Say,
) -> dict[str, Any]:
    """Measure new items until the certificate is confirmed or refuted; return what was found.

    Args:
        plan: a plan with a certificate, fit to the engine.
        workload: items that the plan was not made from, see `unseen`.
        engine: the plan's model.
        state: the file of all checks of this certificate.
        items: most items to measure now; None = all of the workload.
    """
    certificate = checked_certificate(plan)
    kept = open_state(state, certificate["digest"])
    pairs = zip(marks(workload), workload.items, strict=True)
    new = {mark: item for mark, item in pairs if mark not in kept.losses}
    before = len(kept.losses)
    left = dict(list(new.items())[:items])
    for some in _batches(left):
        if _decided(kept, certificate) != "undecided":
            break
        say(f"checking items {len(kept.losses) + 1} to {len(kept.losses) + len(some)}")
        kept.add(workload.name, _measured(plan, certificate, engine, workload, some))
    return _summary(kept, certificate, new_items=len(kept.losses) - before)


def _batches(items: Mapping[str, Request]) -> Iterator[dict[str, Request]]:
    pairs = list(items.items())
    for at in range(0, len(pairs), BATCH):
        yield dict(pairs[at : at + BATCH])


def _measured(
    plan: Plan,
    certificate: Mapping[str, Any],
    engine: Engine,
    workload: Workload,
    items: Mapping[str, Request],
) -> dict[str, float]:
    """Return the losses of some items; those to which the base answers nothing are left out."""
    kind: LossKind = certificate["loss"]
    decision = install(plan, engine.shape, engine.card.offers)
    some = _part(workload, tuple(items.values()))
    if kind == "nats":
        values = nats(engine, some.items)(decision).values
        return dict(zip(items, RANGES[kind].checked(values).tolist(), strict=True))
    sampling = Sampling(max_new_tokens=certificate["max_new_tokens"])
    samples = base_samples(engine, some, sampling, lambda _: None)
    values = evaluator(kind, engine, some, samples, "all")(decision).values
    mark_of = {item.id: mark for mark, item in items.items()}
    answered = [mark_of[sample.request.id] for sample in samples]
    return dict(zip(answered, RANGES[kind].checked(values).tolist(), strict=True))


def interval(losses: Sequence[float], certificate: Mapping[str, Any]) -> Interval:
    """Return the confidence sequence of the mean loss after these items."""
    scale = RANGES[certificate["loss"]]
    if not losses:
        return Interval(scale.low, scale.high)
    bounds = confidence_sequence(scale.to_unit(losses), 1 - certificate["confidence"])
    return Interval(*(scale.from_unit(bound) for bound in bounds))


def decision(losses: Sequence[float], certificate: Mapping[str, Any]) -> Decision:
    """Return whether losses confirm a certificate's limit, refute it, or leave it open."""
    low, high = interval(losses, certificate)
    if high <= certificate["limit"]:
        return "pass"
    return "fail" if low > certificate["limit"] else "undecided"


def _decided(state: CheckState, certificate: Mapping[str, Any]) -> Decision:
    return decision(state.values, certificate)


def _summary(
    state: CheckState, certificate: Mapping[str, Any], *, new_items: int
) -> dict[str, Any]:
    verdict, losses = _decided(state, certificate), state.values
    return {
        "verdict": verdict,
        "loss": certificate["loss"],
        "limit": certificate["limit"],
        "confidence": certificate["confidence"],
        "interval": list(interval(losses, certificate)),
        "mean": float(np.mean(losses)) if losses else None,
        "items": len(losses),
        "new_items": new_items,
        "workloads": state.workloads,
        "needed": more_items(losses, certificate) if verdict == "undecided" else 0,
        "state": str(state.path),
    }


def more_items(losses: Sequence[float], certificate: Mapping[str, Any]) -> int | None:
    """Return about how many more items like these would decide; None = over 50,000."""
    if not losses:
        return None
    draw, seen = np.random.default_rng(0), np.asarray(losses)
    total = float(len(losses))
    while total <= FURTHEST:
        total = GROWTH * total + 1
        more = int(total) - len(losses)
        decided = 0
        for done in range(DRAWS):
            longer = [*losses, *draw.choice(seen, more).tolist()]
            decided += decision(longer, certificate) != "undecided"
            if done - decided > DRAWS // 2:
                break
        if 2 * decided > DRAWS:
            return more
    return None


def _part(workload: Workload, items: tuple[Request, ...]) -> Workload:
    return replace(workload, items=items, digest=digest_of(items))
