"""Certify: test a frozen path of settings on data that the search has not seen.

The path comes from the search alone: for every lossy setting the cheapest way to run it, by the
loss on the search's items. Only then are the certification data opened, in an order that depends
on their texts alone. Settings are tested one after another, each at the level that its place and
those certified before it give; the cheapest that passed is the plan. Data are opened a batch at a
time: a bet on a setting may end as soon as it is won, or can no longer be.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, final

from rheostat.catalog import installed as install
from rheostat.catalog import methods
from rheostat.kernel.certify.fallback import certified, frozen_path
from rheostat.kernel.plan import Plan
from rheostat.stages.claim import claim_of
from rheostat.stages.goal import WORTH
from rheostat.stages.losses import BATCH, Loss, base_samples, evaluator, nats
from rheostat.stages.search import P
from rheostat.workloads.load import digest_of
from rheostat.workloads.marks import marks, refuse_overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import Engine
    from rheostat.kernel.seams import Installed
    from rheostat.stages.choice import Found
    from rheostat.stages.claim import Claim
    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import Evaluate
    from rheostat.stages.material import Material
    from rheostat.stages.search import Point, Step
    from rheostat.workloads.load import Workload

    Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tested(Generic[P]):
    """A setting of the path with its losses on the certification data."""

    point: P
    values: tuple[float, ...]
    """Losses of the items that were opened for it."""
    p_value: float
    level: float
    """What the p-value was held against: alpha, or the share of it that had come this far."""
    items: int | None
    """What the bound was made for: of how many items these may be the beginning; None = all."""

    @property
    def passed(self) -> bool:
        """Whether the setting is certified."""
        return self.p_value <= self.level

    @property
    def mean(self) -> float:
        """Mean loss on the certification data."""
        return sum(self.values) / len(self.values)

    def upper(self, claim: Claim) -> float:
        """Return the upper bound of the mean loss at the level that the setting was held to."""
        return claim.upper(self.values, items=self.items, level=self.level)


@dataclass(frozen=True, kw_only=True)
class Verdict(Generic[P]):
    """What the certification data say of a path."""

    claim: Claim
    path: tuple[P, ...]
    tested: tuple[Tested[P], ...]
    opened: int
    """How many items of the certification data were looked at, for any setting."""

    @property
    def chosen(self) -> Tested[P] | None:
        """The cheapest certified setting, None when no dial can be turned."""
        return next((own for own in reversed(self.tested) if own.passed), None)

    @property
    def refused(self) -> Tested[P] | None:
        """The setting that lost least of those that were not certified, None when all were."""
        failed = [own for own in self.tested if not own.passed]
        return min(failed, key=lambda own: own.mean, default=None)

    def why(self) -> list[str]:
        """Say what was certified, what was not, and what data it would take."""
        chosen, refused, claim = self.chosen, self.refused, self.claim
        sentences = []
        if chosen:
            sentences.append(
                f"certified {chosen.point.name}: on {len(chosen.values)} {claim.items} that the "
                f"search did not see it loses {chosen.mean:.4f}, and at most "
                f"{chosen.upper(claim):.4f} with confidence "
                f"{1 - claim.alpha:g}"
            )
        elif refused:
            sentences.append(
                f"no dial with a loss can be turned: nothing is certified at {claim.limit:g}"
            )
        else:
            sentences.append(
                "no dial with a loss can be turned: the search found no setting within the limit "
                f"that makes the plan at least {WORTH:.0%} cheaper"
            )
        if refused:
            needed = claim.needed(refused.values, level=refused.level)
            enough = (
                "its loss is not under the limit, and more data of this kind would not help"
                if needed is None
                else f"about {needed} {claim.items} like these would certify it"
            )
            sentences.append(
                f"not certified: {refused.point.name} loses {refused.mean:.4f} on "
                f"{len(refused.values)} {claim.items}, at most "
                f"{refused.upper(claim):.4f}; {enough}"
            )
        return sentences

    def path_json(self) -> list[dict[str, Any]]:
        """Return the path with what was found of the settings that were tested."""
        lines = []
        tested = {_key(own.point): own for own in self.tested}
        for point in self.path:
            line: dict[str, Any] = {
                **point.frozen(),
                "price_ratio": point.price_ratio,
                "search_loss": point.loss,
            }
            own = tested.get(_key(point))
            if own is not None:
                line |= {
                    "mean": own.mean,
                    "p_value": own.p_value,
                    "level": own.level,
                    "certified": own.passed,
                }
            lines.append(line)
        return lines


def certify(material: Material, goal: Goal, found: Found, say: Say) -> Verdict[Point]:
    """Freeze the path, then open the certification data and test it.

    Raises:
        WorkloadError: items of the certification data were used in the search.
        PlanError: a loss is not a number or outside its range.
    """
    path = path_of(found)
    claim = claim_of(goal, (loss for point in path for loss in point.losses))
    data = material.parts["test"]
    refuse_overlap(
        marks(data),
        marks(material.parts["calibration"]),
        subject=data.name,
        what="the search of this plan",
    )
    tested: list[Tested[Point]] = []
    opened = _Opened(material, goal, data, say)

    def p_value(point: Point, level: float) -> float:
        say(f"certifying {point.name} on up to {len(data.items)} items")
        tested.append(opened.test(point, claim, level))
        return tested[-1].p_value

    certified(path, lambda point: point.price_ratio, p_value, claim.alpha)
    return Verdict(claim=claim, path=tuple(path), tested=tuple(tested), opened=opened.count)


@final
class _Opened:
    """The certification data, opened and answered by the base a batch at a time."""

    def __init__(self, material: Material, goal: Goal, data: Workload, say: Say) -> None:
        self._material, self._goal, self._data, self._say = material, goal, data, say
        self._evaluate: list[Evaluate] = []

    @property
    def count(self) -> int:
        """How many items were looked at."""
        return min(len(self._evaluate) * BATCH, len(self._data.items))

    def test(self, point: Point, claim: Claim, level: float) -> Tested[Point]:
        """Measure a setting until the claim is shown or out of reach, or the data end."""
        engine = self._material.engine(self._say)
        decision = install(_plan(engine, point), engine.shape, engine.card.offers)
        size = len(self._data.items) if claim.bound.early else None
        values: list[float] = []
        for part in range(math.ceil(len(self._data.items) / BATCH)):
            values += self._losses(part, point, decision)
            if size is not None and (
                claim.p_value(values, items=size) <= level
                or claim.hopeless(values, items=size, level=level)
            ):
                break
        p = claim.p_value(values, items=size)
        return Tested(point=point, values=tuple(values), p_value=p, level=level, items=size)

    def _losses(self, part: int, point: Point, decision: Installed) -> tuple[float, ...]:
        """Return the losses on one part of the items, measured now or kept."""
        evaluate, kind = self._of(part), self._goal.loss
        data = self._material.journal.part(
            ["certified", kind, [s.to_json() for s in point.settings], digest_of(evaluate.items)],
            lambda: evaluate(decision).to_json(),
            about=f"what {point.name} loses on part {part + 1} of the certification data",
        )
        return Loss.from_json(data).values

    def _of(self, part: int) -> Evaluate:
        """Return what measures settings on one part of the items."""
        while part >= len(self._evaluate):
            at = len(self._evaluate) * BATCH
            items = self._data.items[at : at + BATCH]
            self._evaluate.append(self._evaluator(replace(self._data, items=items)))
        return self._evaluate[part]

    def _evaluator(self, some: Workload) -> Evaluate:
        engine, goal = self._material.engine(self._say), self._goal
        if goal.loss == "nats":
            return nats(engine, some.items)
        journal = self._material.journal
        samples = base_samples(engine, some, self._material.sampling, self._say, journal)
        return evaluator(goal.loss, engine, some, samples, "test")


def path_of(found: Found) -> list[Point]:
    """Return the path from the base: lossy settings that are worth it, the gentlest first."""
    cheapest: dict[str, Point] = {}
    for point in sorted(found.lossy, key=lambda p: p.price_ratio, reverse=True):
        if point.price_ratio <= found.lossless.price_ratio - WORTH:
            cheapest[_lossy(point)] = point
    return frozen_path(cheapest.values(), loss=lambda p: p.cautious, price=lambda p: p.price_ratio)


def certificate(
    material: Material, goal: Goal, verdict: Verdict[Point], machine: str
) -> dict[str, Any]:
    """Return the certificate of the setting that was chosen, without its seal."""
    chosen, claim = verdict.chosen, verdict.claim
    assert chosen is not None
    search, data = material.parts["calibration"], material.parts["test"]
    return {
        "claim": claim.sentence(data.name),
        **claim.to_json(),
        "mean": chosen.mean,
        "upper": chosen.upper(claim),
        "measured_items": len(chosen.values),
        "data": _data(data, "test", verdict.opened, material.seed),
        "search": _data(search, "calibration", len(search.items), material.seed),
        "path": verdict.path_json(),
        "path_digest": path_digest(verdict.path),
        "max_new_tokens": material.sampling.max_new_tokens,
        "machine": machine,
    }


def _data(workload: Workload, split: str, size: int, seed: int) -> dict[str, Any]:
    return {
        "workload": workload.name,
        "digest": workload.digest,
        "split": split,
        "size": size,
        "seed": seed,
        "items": marks(workload)[:size],
    }


def path_digest(path: Sequence[Step]) -> str:
    """Return a digest of what was frozen: the settings in their order."""
    frozen = [point.frozen() for point in path]
    return hashlib.sha256(json.dumps(frozen, sort_keys=True).encode("utf-8")).hexdigest()


def _key(point: Step) -> str:
    return json.dumps(point.frozen(), sort_keys=True)


def _lossy(point: Point) -> str:
    lossy = [s for s in point.settings if methods()[s.name].card.exactness == "lossy"]
    return json.dumps([s.to_json() for s in lossy], sort_keys=True)


def _plan(engine: Engine, point: Point) -> Plan:
    return Plan(model=engine.model, methods=point.settings)
