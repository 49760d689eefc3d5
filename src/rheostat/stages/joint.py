"""The joint search: dials of several seams together, their losses measured, never added up.

First every setting with a loss runs alone, on a few items. Those that may keep to the limit are put
together, one of each seam, where each part makes the whole cheaper; their losses are measured as a
whole. Then all race for the rest of the items, the cheapest first. Draft sources change no loss:
under each setting the set of them that pays best is taken, by its price.

What is given up for speed: a setting that is over the limit by itself is not tried in company, and
of each seam at most `PARTS` settings are, the best trades of price for loss among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, final

from rheostat.errors import MethodError
from rheostat.kernel.policies.racing import rounds
from rheostat.stages.drafting import Drafting
from rheostat.stages.goal import NEUTRAL, RANGES, WORTH
from rheostat.stages.intervals import standard_error
from rheostat.stages.pricing import Pricing, measured_prices
from rheostat.stages.race import FIRST, OVER, Entrant, Race
from rheostat.stages.search import Point, setting_name, settings_key, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import Engine
    from rheostat.kernel.plan import Setting
    from rheostat.stages.drafting import Drafted
    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import Evaluate, Sample
    from rheostat.stages.pricing import Prices
    from rheostat.stages.search_journal import SearchJournal
    from rheostat.stages.space import Space

LEAST = 0.002
"""A setting that saves less of the price by itself is not measured."""
DEAR = "it costs more than is allowed"
PARTS = 6
"""Settings of one seam that are put together with others."""
PRICED = 32
"""Items that settings are priced on."""
FINALISTS = 3
"""Settings under which every draft source is looked at, at every dial."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a joint search found."""

    allowed: tuple[Point, ...]
    """Settings with a loss that the goal lets through, each with the drafts that pay best."""
    points: tuple[Point, ...]
    """All settings with a loss that were looked at, with drafts and without."""
    measured: tuple[Point, ...]
    """Each setting whose loss was measured, without drafts."""
    kept: int
    """How many of those the goal lets through."""
    left_out: tuple[str, ...]


@final
class Joint:
    """A joint search for one engine on one set of answers."""

    def __init__(  # noqa: PLR0913  # what is searched, on what, at which prices, and where it is kept
        self,
        engine: Engine,
        samples: Sequence[Sample],
        space: Space,
        journal: SearchJournal,
        say: Callable[[str], None],
        *,
        prices: Prices = measured_prices,
    ) -> None:
        """Price the base and the draft sources over it."""
        self.space = space
        self.pricing = Pricing(engine, samples[:PRICED], prices)
        say(f"pricing {len(space.drafts)} draft sources on the base's answers")
        self.drafting = Drafting(self.pricing, space.drafts)
        self._journal = journal
        self._say = say

    def base(self, neutral: float, items: int) -> Point:
        """Return the base as a point."""
        costs = shares(self.pricing.base, self.pricing.base)
        return Point(loss=neutral, losses=(neutral,) * items, costs=costs)

    def drafts(self, base: Point) -> list[Point]:
        """Return the draft sources over the base as points."""
        return [self._drafted(base, drafted) for drafted in self.drafting.over_base]

    def run(self, goal: Goal, evaluate: Evaluate) -> Outcome:
        """Race settings with a loss for a goal."""
        race = Race(
            evaluate,
            self._journal,
            kind=goal.loss,
            scale=RANGES[goal.loss],
            neutral=NEUTRAL[goal.loss],
            limit=goal.limit if goal.aim == "max_loss" else None,
            held=lambda loss: held(goal, loss.values),
            price=self._price,
            say=self._say,
        )
        entrants, left_out = self._entrants()
        ends = rounds(len(evaluate.items), FIRST)
        race.screen(entrants, ends[0])
        everyone = [*entrants, *self._together(entrants, goal)]
        if goal.aim == "max_cost":
            for entrant in everyone:
                entrant.left = entrant.left or (DEAR if entrant.ratio > goal.limit else "")
        race.run(everyone, ends)
        single = [self._point(entrant, entrant.alone) for entrant in race.seen]
        points, allowed = list(single), []
        for entrant, point in zip(race.seen, single, strict=True):
            best = self._with_drafts(point, entrant)
            points += [best] if best is not point else []
            if entrant.left != OVER and _lets_through(goal, held(goal, point.losses)):
                allowed.append((entrant, best))
        allowed.sort(key=lambda pair: pair[1].price_ratio)
        finals = [point for pair in allowed[:FINALISTS] for point in self._all_drafts(*pair)]
        return Outcome(
            allowed=tuple(_distinct([*(point for _, point in allowed), *finals])),
            points=tuple(_distinct([*points, *finals])),
            measured=tuple(single),
            kept=len(allowed),
            left_out=tuple(left_out),
        )

    def _entrants(self) -> tuple[list[Entrant], list[str]]:
        """Return every setting with a loss by itself that may save something."""
        found, idle = [], []
        for chain in self.space.chains:
            own = [self._entrant((option,)) for option in chain.options]
            cheaper = [e for e in own if e.dynamic or _saved(e) >= LEAST]
            for entrant in cheaper:
                entrant.chain = setting_name(chain.options[0]).rpartition(" at ")[0]
            found += cheaper
            name = chain.options[0].name
            if not cheaper and name not in idle:
                idle.append(name)
        left = [n for n in idle if n not in {e.settings[0].name for e in found}]
        said = [f"left {name} out: it makes nothing cheaper here" for name in left]
        return found, said

    def _entrant(self, settings: tuple[Setting, ...]) -> Entrant:
        entrant = Entrant(
            name=" + ".join(map(setting_name, settings)),
            settings=settings,
            decision=self.pricing.installed(settings),
        )
        self._price(entrant)
        return entrant

    def _price(self, entrant: Entrant) -> None:
        self._price_at(entrant, entrant.loss.mlp_share)

    def _price_at(self, entrant: Entrant, mlp_share: float) -> None:
        entrant.alone, entrant.drafted = self.drafting.likely(entrant.settings, mlp_share)

    def _together(self, entrants: Sequence[Entrant], goal: Goal) -> list[Entrant]:
        """Put settings of different seams together where every one of them is worth it."""
        by_seam: dict[str, list[Entrant]] = {}
        seam_of = {c.options[0].name: c.seam for c in self.space.chains}
        for entrant in entrants:
            if entrant.left != OVER and entrant.loss.values and _may_join(entrant, goal):
                by_seam.setdefault(seam_of[entrant.settings[0].name], []).append(entrant)
        parts = [_trades(own) for own in by_seam.values()]
        ratios = {settings_key(e.settings): e.ratio for own in parts for e in own}
        found: list[Entrant] = []
        for size in range(2, len(parts) + 1):
            for seams in combinations(parts, size):
                for chosen in product(*seams):
                    made = self._joined(chosen)
                    if made is None:
                        continue
                    fewer = [[s for s in made.settings if s not in p.settings] for p in chosen]
                    dearest = min(ratios.get(settings_key(without), 1.0) for without in fewer)
                    if made.ratio <= dearest - WORTH:
                        ratios[settings_key(made.settings)] = made.ratio
                        found.append(made)
        return found

    def _joined(self, parts: Sequence[Entrant]) -> Entrant | None:
        settings = tuple(setting for part in parts for setting in part.settings)
        try:
            made = self._entrant(settings)
        except MethodError:  # such as two decisions that an engine does not serve together
            return None
        dynamic = [part for part in parts if part.dynamic]
        if dynamic:  # what it lets run is taken from when it ran alone, until it is measured
            self._price_at(made, dynamic[0].loss.mlp_share)
        return made

    def _point(self, entrant: Entrant, drafted: Drafted | None) -> Point:
        assert drafted is not None
        return Point(
            settings=(*entrant.settings, *drafted.drafts),
            price_ratio=drafted.ratio,
            loss=entrant.loss.mean,
            losses=entrant.loss.values,
            mlp_share=entrant.loss.mlp_share,
            costs=shares(drafted.priced, self.pricing.base),
            left=entrant.left,
        )

    def _with_drafts(self, point: Point, entrant: Entrant) -> Point:
        """Return the point with the drafts that pay best, where they are worth it."""
        worth = entrant.ratio <= point.price_ratio - WORTH
        return self._point(entrant, entrant.drafted) if worth else point

    def _all_drafts(self, entrant: Entrant, best: Point) -> list[Point]:
        """Return a setting with each set of drafts that is cheaper than its best so far."""
        found = self.drafting.sweep(entrant.settings, entrant.loss.mlp_share)
        cheaper = [drafted for drafted in found if drafted.ratio < best.price_ratio]
        return [self._point(entrant, drafted) for drafted in cheaper]

    def _drafted(self, base: Point, drafted: Drafted) -> Point:
        return Point(
            settings=drafted.drafts,
            price_ratio=drafted.ratio,
            loss=base.loss,
            losses=base.losses,
            costs=shares(drafted.priced, self.pricing.base),
        )


def _saved(entrant: Entrant) -> float:
    return 0.0 if entrant.alone is None else 1.0 - entrant.alone.ratio


def held(goal: Goal, losses: Sequence[float]) -> float:
    """Return what of losses is held against the limit.

    Without a certificate the mean plus a standard error; with one the mean alone, because what the
    search lets through is tested on other data.
    """
    mean = sum(losses) / len(losses)
    return mean if goal.confidence is not None else mean + standard_error(losses)


def _lets_through(goal: Goal, loss: float) -> bool:
    return goal.aim == "max_cost" or loss <= goal.limit


def _may_join(entrant: Entrant, goal: Goal) -> bool:
    return goal.aim == "max_cost" or entrant.loss.mean <= goal.limit


def _trades(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Return the entrants that none beats in price and mean loss, at most `PARTS`, evenly."""
    kept: list[Entrant] = []
    for entrant in sorted(entrants, key=lambda e: (e.ratio, e.loss.mean)):
        if not kept or entrant.loss.mean < kept[-1].loss.mean:
            kept.append(entrant)
    if len(kept) <= PARTS:
        return kept
    return [kept[round(i * (len(kept) - 1) / (PARTS - 1))] for i in range(PARTS)]


def _distinct(points: Sequence[Point]) -> list[Point]:
    """Return the first point of each set of settings."""
    return list({settings_key(p.settings): p for p in reversed(points)}.values())[::-1]
