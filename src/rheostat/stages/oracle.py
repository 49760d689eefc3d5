"""The oracle beside a plan: what perfect decisions would have cost on the search's items.

Nothing runs for it. Of the settings that the search measured, the oracle takes the best for every
text; of drafts, the cheapest steps that the plan's own sources allow. Both know the answers, so no
rule reaches them in full: what counts is how far the plan gets, and how far its controls do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.catalog import installed as install
from rheostat.catalog import methods
from rheostat.kernel.oracle.choices import hindsight
from rheostat.kernel.oracle.draft_ways import ways_compared, ways_priced
from rheostat.kernel.plan import Plan
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.seams import DraftStart, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Engine
    from rheostat.kernel.seams import Installed
    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import Sample
    from rheostat.stages.pricing import Prices
    from rheostat.stages.search import Point


def in_hindsight(  # noqa: PLR0913  # a plan, what it was chosen from, and at which prices
    engine: Engine,
    samples: Sequence[Sample],
    goal: Goal,
    chosen: Point,
    points: Sequence[Point],
    prices: Prices,
) -> dict[str, Any]:
    """Return the oracle's part of a plan: `texts` and `drafts`, each None where nothing is chosen.

    Args:
        engine: the plan's model.
        samples: the search's items with the base's answers.
        goal: what the plan is asked for.
        chosen: the plan's point.
        points: everything that the search measured, the base among it.
        prices: what passes cost.
    """
    texts = per_text(points, goal.limit, chosen) if goal.aim == "max_loss" else None
    return {"texts": texts, "drafts": per_step(engine, samples, chosen, prices)}


def per_text(points: Sequence[Point], limit: float, chosen: Point) -> dict[str, Any] | None:
    """Return what the best setting of every text would cost, as shares of the base's price.

    A setting whose measuring was broken off is left out.
    """
    lossy = [point for point in points if not _is_lossless(point)]
    most = max((len(point.losses) for point in lossy), default=0)
    base = [point for point in points if not point.settings][:1]
    drafts = [point for point in points if point.settings and _is_lossless(point)]
    whole = [*base, *drafts, *(point for point in lossy if len(point.losses) == most)]
    if not base or not lossy:
        return None
    losses = np.array([_losses(point, most) for point in whole]).T
    found = hindsight(losses, [point.price_ratio for point in whole], limit)
    plan = {"plan": chosen.price_ratio, "plan_share": found.share(chosen.price_ratio)}
    return found.to_json() | plan | {"settings": len(whole), "items": most}


def _is_lossless(point: Point) -> bool:
    return all(methods()[setting.name].card.exactness != "lossy" for setting in point.settings)


def _losses(point: Point, items: int) -> tuple[float, ...]:
    """Return a loss an item; drafts lose what the base loses against itself."""
    return point.losses[:1] * items if _is_lossless(point) else point.losses


def per_step(
    engine: Engine, samples: Sequence[Sample], chosen: Point, prices: Prices
) -> dict[str, Any] | None:
    """Return what perfect lengths of the plan's drafts would cost; None where it drafts nothing."""
    plan = Plan(model=engine.model, methods=chosen.settings)
    decision = install(plan, engine.shape, engine.card.offers)
    if not isinstance(decision.draft, Controlled) or not decision.draft.sources:
        return None
    sources = {f"source {i + 1}": one for i, (one, _) in enumerate(decision.draft.sources)}
    step = _StepPrice(engine, decision, prices)
    priced = [
        ways_priced(
            decision.draft,
            sources,
            DraftStart(prompt=sample.prompt, special=engine.special, step_seconds=step),
            sample.written,
            step,
        )
        for sample in samples
    ]
    found = ways_compared(priced)
    assert found is not None
    return {name: value for name, value in found.items() if name != "relative"}


class _StepPrice:
    """The price of a step under the plan's layout."""

    def __init__(self, engine: Engine, decision: Installed, prices: Prices) -> None:
        depth = decision.depth
        layout = depth.layout if depth else Layout.full(engine.shape.layers)
        self._prices = prices(engine.under(decision), decision)
        self._attention, self._mlp = sum(layout.attention), sum(layout.mlp)

    def __call__(self, n: int, context: int) -> float:
        return self._prices.seconds(
            n, context, attention=self._attention, mlp=self._mlp, head_rows=n
        )


def sentences(found: dict[str, Any]) -> list[str]:
    """Say how much of the oracle's saving the plan reaches, and its controls."""
    said = []
    texts, drafts = found["texts"], found["drafts"]
    if texts and texts["plan_share"] is not None:
        said.append(
            f"in hindsight: taking the best of {texts['settings']} settings anew for every text "
            f"would cost {texts['oracle']:.2f} of the base within the limit; this plan reaches "
            f"{texts['plan_share']:.0%} of that saving, the best one setting for all texts "
            f"{texts['static_share']:.0%}, settings taken at random at best "
            f"{texts['random_share']:.0%}"
        )
    if drafts and drafts["oracle_share"] is not None:
        said.append(
            "in hindsight: had every draft had the best length, the steps would be "
            f"{drafts['oracle_ratio']:.2f} times as cheap; the lengths taken here reach "
            f"{drafts['oracle_share']:.0%} of that saving, one length for all at best "
            f"{drafts['best_fixed_share']:.0%}, random lengths {drafts['by_lot_share']:.0%}"
        )
    return said
