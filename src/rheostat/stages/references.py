"""What a chosen setting is held against: chance, fixed choices, each method alone, hindsight.

Controls take the place of a chosen method at the dial that makes the plan about as cheap: one
answers "would any setting of this price have done?". Draft controls lose nothing and are priced
alone. Hindsight is the price of perfect draft lengths of the chosen sources
(`kernel/oracle/drafts.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rheostat.catalog import method, methods
from rheostat.kernel.method import params_of
from rheostat.stages.losses import BATCH, Loss
from rheostat.stages.search import Point, shares
from rheostat.stages.space import DIALS, controls
from rheostat.workloads.load import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.plan import Setting
    from rheostat.kernel.seams import Seam
    from rheostat.stages.goal import Goal
    from rheostat.stages.joint import Joint
    from rheostat.stages.losses import Evaluate
    from rheostat.stages.search_journal import SearchJournal

MEASURED = 4 * BATCH
"""Most items on which a control is measured."""
STEPS = 64
"""Dials among which a control's is found."""


@dataclass(frozen=True, kw_only=True)
class References:
    """What a chosen point is held against."""

    controls: tuple[Point, ...]
    """The chosen setting with one method replaced by a control at about the same price."""
    oracle: float | None
    """Price ratio of the chosen setting with perfect draft lengths; None without drafts."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "controls": [point.to_json(kept=False) for point in self.controls],
            "oracle": None if self.oracle is None else {"drafts": self.oracle},
        }


def referred(
    joint: Joint, goal: Goal, chosen: Point, evaluate: Evaluate | None, journal: SearchJournal
) -> References:
    """Price and measure what a chosen point is held against."""
    found: list[Point] = []
    seams: set[Seam] = set()
    for setting in chosen.settings:
        seam = method(setting.name).card.seam
        names = controls(joint.pricing.engine, seam) if seam not in seams else []
        seams.add(seam)
        for name in names:
            point = _control(joint, chosen, setting, name)
            if seam != "draft" and evaluate is not None:
                point = _measured(joint, goal, point, evaluate, journal)
            found.append(point)
    oracle = joint.pricing.oracle(chosen.settings, chosen.mlp_share)
    return References(controls=tuple(found), oracle=oracle)


def _control(joint: Joint, chosen: Point, setting: Setting, name: str) -> Point:
    """Return the chosen point with a control in a method's place, nearest to its price.

    A draft control takes the place of all sources, and is taken at its cheapest.
    """
    known = params_of(methods()[name]())
    params = {key: value for key, value in setting.params.items() if key in known}
    own = replace(setting, name=name, params=params, fitted={})
    priced = partial(_with_control, joint, chosen, setting, own)
    if method(name).card.seam == "draft":
        return min((priced(dial) for dial in DIALS["draft"]), key=lambda p: p.price_ratio)
    low, high = 0, STEPS  # its price falls along its dial
    while high - low > 1:
        middle = (low + high) // 2
        if priced(middle / STEPS).price_ratio > chosen.price_ratio:
            low = middle
        else:
            high = middle
    ends = [priced(at / STEPS) for at in (low, high) if at]
    return min(ends, key=lambda p: abs(p.price_ratio - chosen.price_ratio))


def _with_control(
    joint: Joint, chosen: Point, setting: Setting, own: Setting, dial: float
) -> Point:
    """Return the chosen point with a control at a dial in a method's place."""
    pricing = joint.pricing
    drafts = method(own.name).card.seam == "draft"
    others = _without_drafts(chosen.settings) if drafts else chosen.settings
    settings = (*(s for s in others if s is not setting), replace(own, dial=dial))
    priced = pricing.priced(settings, chosen.mlp_share if drafts else 1.0)
    costs = shares(priced, pricing.base)
    ratio = pricing.ratio(priced)
    return replace(chosen, settings=settings, price_ratio=ratio, costs=costs)


def _measured(
    joint: Joint, goal: Goal, point: Point, evaluate: Evaluate, journal: SearchJournal
) -> Point:
    """Return a control with what it loses on the first items."""
    lossy = _without_drafts(point.settings)
    decision = joint.pricing.installed(lossy)
    items = evaluate.items[:MEASURED]
    data = journal.part(
        ["loss", goal.loss, [s.to_json() for s in lossy], digest_of(items)],
        lambda: evaluate(decision, slice(0, len(items))).to_json(),
        about=f"the control {point.name} on items 1 to {len(items)}",
    )
    loss = Loss.from_json(data)
    return replace(point, loss=loss.mean, losses=loss.values, left="")


def _without_drafts(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    return tuple(s for s in settings if method(s.name).card.seam != "draft")
