"""Search: one-dial sweeps of every method, then the best draft with the best depth decision.

Draft sources are priced by replaying the base's answers, depth decisions by the layout that they
execute; the loss of a depth decision is measured. A sweep stops where the loss is far beyond the
limit. Interactions of a draft with a depth decision enter through the price of its steps alone;
the finished plan is measured as a whole, on other items.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, final

from rheostat.catalog import installed as install
from rheostat.catalog import methods
from rheostat.errors import MethodError
from rheostat.kernel.method import with_params
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.policies.replay import replayed
from rheostat.kernel.seams import Depth, DraftStart, Installed, Layout
from rheostat.stages.intervals import mean_interval, standard_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rheostat.engines.base import Engine
    from rheostat.kernel.seams import Seam
    from rheostat.stages.losses import Evaluate, Loss, Sample

DRAFT_DIALS = (0.125, 0.25, 0.5, 0.75, 1.0)
DEPTH_DIALS = (0.034, 0.067, 0.1, 0.134, 0.2, 0.3, 0.5, 1.0)
FAR_BEYOND = 3.0
"""A sweep goes no further once the loss is over this multiple of the limit."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A setting with its predicted price and its loss on the calibration items."""

    settings: tuple[Setting, ...] = ()
    price_ratio: float = 1.0
    loss: float = 0.0
    losses: tuple[float, ...] = field(default=(0.0,), repr=False)
    mlp_share: float = 1.0

    @property
    def name(self) -> str:
        """The setting in words."""
        return " + ".join(setting_name(s) for s in self.settings) or "the base"

    @property
    def cautious(self) -> float:
        """Mean loss plus one standard error: what the search compares with the limit."""
        return self.loss + standard_error(self.losses)

    def to_json(self, *, kept: bool) -> dict[str, Any]:
        """Return the frontier's entry."""
        return {
            "methods": [
                {"name": s.name, "dial": s.dial, "params": dict(s.params)} for s in self.settings
            ],
            "price_ratio": self.price_ratio,
            "loss": self.loss,
            "loss_interval": list(mean_interval(self.losses)),
            "kept": kept,
        }


@final
class Search:
    """Prices and losses of settings for one engine on one set of items."""

    def __init__(
        self,
        engine: Engine,
        samples: Sequence[Sample],
        say: Callable[[str], None],
        *,
        neutral: float = 0.0,
    ) -> None:
        """Price the base; `neutral` is the base's own loss in the unit that is asked for."""
        self.engine = engine
        self.samples = samples
        self.say = say
        self.base_price = self._price(Installed(), 1.0)
        self.base = Point(loss=neutral, losses=(neutral,) * len(samples))
        self.left_out: list[str] = []
        """Sentences: which methods this model cannot have, and why."""

    def draft_points(self, under: Point | None = None) -> Iterator[Point]:
        """Price every draft source at every dial, over the base or over a depth point.

        The last point has all sources together, each at its cheapest dial.
        """
        under = under or self.base
        cheapest: list[Point] = []
        for name in self._searched("draft"):
            points = list(self._draft_dials(name, under))
            yield from points
            cheapest.append(min(points, key=lambda point: point.price_ratio))
        if len(cheapest) > 1:
            yield self._drafting(under, [point.settings[-1] for point in cheapest])

    def _draft_dials(self, name: str, under: Point) -> Iterator[Point]:
        seen: set[float] = set()
        for dial in DRAFT_DIALS:
            point = self._drafting(under, [Setting(name=name, dial=dial)])
            if point.price_ratio not in seen:
                seen.add(point.price_ratio)
                yield point

    def _drafting(self, under: Point, drafts: Sequence[Setting]) -> Point:
        settings = (*under.settings, *drafts)
        price = self._price(self._installed(settings), under.mlp_share)
        return replace(under, settings=settings, price_ratio=price / self.base_price)

    def depth_points(
        self, evaluate: Evaluate, profile: Mapping[str, Any], limit: float
    ) -> Iterator[Point]:
        """Measure every depth method along its dial until the loss is far beyond the limit."""
        for name in self._searched("depth"):
            for variant in methods()[name].card.variants:
                try:
                    fitted = with_params(methods()[name], variant).fit(profile)
                except MethodError as error:  # the profile holds no ranking of such parts
                    self.left_out.append(f"left {name} out: {error.message}")
                    continue
                of = Setting(name=name, dial=1.0, params=variant, fitted=fitted)
                yield from self._sweep(of, evaluate, limit)

    def _sweep(self, of: Setting, evaluate: Evaluate, limit: float) -> Iterator[Point]:
        seen: list[Depth] = [Depth(Layout.full(self.engine.shape.layers))]
        for dial in DEPTH_DIALS:
            setting = replace(of, dial=dial)
            try:
                decision = self._installed((setting,))
            except MethodError as error:  # such as a model with too few layers for it
                self.left_out.append(f"left {of.name} out: {error.message}")
                return
            if decision.depth is None or decision.depth in seen:
                continue
            seen.append(decision.depth)
            self.say(f"measuring what {setting_name(setting)} loses")
            point = self._point((setting,), decision, evaluate(decision))
            yield point
            if point.loss - self.base.loss > FAR_BEYOND * (limit - self.base.loss):
                return

    def _point(self, settings: tuple[Setting, ...], decision: Installed, loss: Loss) -> Point:
        price = self._price(decision, loss.mlp_share)
        return Point(
            settings=settings,
            price_ratio=price / self.base_price,
            loss=loss.mean,
            losses=loss.values,
            mlp_share=loss.mlp_share,
        )

    @property
    def unpriced(self) -> list[str]:
        """Draft sources of this engine that take forward passes, which no replay can price."""
        cards = [found.card for found in methods().values()]
        offers = self.engine.card.offers
        return [c.name for c in cards if "draft.model" in c.needs and c.needs <= offers]

    def _searched(self, seam: Seam) -> list[str]:
        offers = self.engine.card.offers
        cards = [found.card for found in methods().values()]
        fitting = [c.name for c in cards if c.seam == seam and not c.control and c.needs <= offers]
        return [name for name in fitting if name not in self.unpriced]

    def _installed(self, settings: tuple[Setting, ...]) -> Installed:
        plan = Plan(model=self.engine.model, methods=settings)
        return install(plan, self.engine.shape, self.engine.card.offers)

    def _price(self, decision: Installed, mlp_share: float) -> float:
        """Price reading the prompts and writing the answers under a setting."""
        prices = self.engine.prices()
        layout = decision.depth.layout if decision.depth else Layout.full(self.engine.shape.layers)
        attention, mlp = sum(layout.attention), sum(layout.mlp)

        def step(n: int, context: int, share: float = mlp_share) -> float:
            return prices.seconds(n, context, attention=attention, mlp=mlp * share, head_rows=n)

        total = 0.0
        for sample in self.samples:
            start = DraftStart(
                prompt=sample.prompt,
                special=self.engine.special,
                # as the engines tell it: what a dynamic decision saves is not known beforehand
                step_seconds=lambda n, context: step(n, context, 1.0),
            )
            total += prices.seconds(
                len(sample.prompt), 0, attention=attention, mlp=mlp, head_rows=1
            )
            total += replayed(decision.draft, start, sample.written, step, sample.room).price
        return total


def setting_name(setting: Setting) -> str:
    """Return a setting in words, such as `llm_drop (unit=mlp) at 0.1`."""
    params = ", ".join(f"{name}={value}" for name, value in setting.params.items())
    return f"{setting.name}{f' ({params})' if params else ''} at {setting.dial:g}"


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other point beats in both price and loss, cheapest first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.price_ratio, p.loss)):
        if not kept or point.loss < kept[-1].loss:
            kept.append(point)
    return kept
