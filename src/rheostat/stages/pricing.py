"""What settings cost on the base's answers: price, FLOP and bytes an item, without running a model.

A lossless draft never changes the answer, so its steps are replayed along it; a depth decision
prices what its layout executes, a cache decision the entries that it holds and the products at its
borders. Under a setting with a loss the answers would be others; it is priced on the base's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, final

import numpy as np

from rheostat.kernel.oracle.drafts import oracle_price
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.policies.replay import replayed
from rheostat.kernel.seams import DraftStart, Layout
from rheostat.stages.held_entries import compacting_products, held_entries
from rheostat.stages.space import install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rheostat.engines.base import Engine
    from rheostat.kernel.model_cost import PriceTable
    from rheostat.kernel.plan import Setting
    from rheostat.kernel.policies.replay import StepPrice
    from rheostat.kernel.seams import Installed
    from rheostat.stages.losses import Sample

    Floats = NDArray[np.float64]
    Prices = Callable[[Engine, Installed], PriceTable]
    """The table that a decision's passes are priced with."""


def measured_prices(engine: Engine, decision: Installed) -> PriceTable:
    """Return the engine's own table, measured when it is first asked for."""
    return engine.prices(decision)


@dataclass(frozen=True, kw_only=True)
class Priced:
    """What a setting costs, an entry an item."""

    price: Floats
    """Predicted seconds."""
    flops: Floats
    bytes: Floats

    def joined(self, other: Priced) -> Priced:
        """Return the two on one item after another."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        price, flops, read = (np.concatenate(pair) for pair in pairs)
        return Priced(price=price, flops=flops, bytes=read)


@final
class Pricing:
    """Prices settings of one engine on the same answers."""

    def __init__(
        self, engine: Engine, samples: Sequence[Sample], prices: Prices = measured_prices
    ) -> None:
        """Price the base."""
        self.engine = engine
        self.samples = samples
        self._prices = prices
        self.base = self.priced(())

    def ratio(self, priced: Priced) -> float:
        """Return a price as a share of the base's."""
        return float(priced.price.sum() / self.base.price.sum())

    def installed(self, settings: Sequence[Setting]) -> Installed:
        """Return the decisions of settings; raise `MethodError` where there are none."""
        return install(self.engine, settings)

    def priced(self, settings: Sequence[Setting], mlp_share: float = 1.0) -> Priced:
        """Price reading the prompts and writing the answers.

        Args:
            settings: what is switched on.
            mlp_share: share of the layout's MLPs that a dynamic decision lets run.
        """
        decision = self.installed(settings)
        row = self._row(decision, mlp_share)
        costs = np.array([row.cost(sample) for sample in self.samples])
        return Priced(price=costs[:, 0], flops=costs[:, 1], bytes=costs[:, 2])

    def oracle(self, settings: Sequence[Setting], mlp_share: float = 1.0) -> float | None:
        """Return the price ratio of perfect draft lengths of a setting's sources, None without."""
        decision = self.installed(settings)
        drafts = decision.draft
        if not isinstance(drafts, Controlled) or not drafts.sources:
            return None
        row = self._row(decision, mlp_share)
        total = 0.0
        for sample in self.samples:
            step = row.steps(sample)
            total += row.reading(sample)[0]
            total += oracle_price(drafts.sources, row.start(sample), sample.written, step)
        return total / float(self.base.price.sum())

    def _row(self, decision: Installed, mlp_share: float) -> _Row:
        engine = self.engine.under(decision)
        return _Row(engine, decision, mlp_share, self._prices(engine, decision))


@final
class _Row:
    """The cost of one row under a decision."""

    def __init__(
        self, engine: Engine, decision: Installed, mlp_share: float, prices: PriceTable
    ) -> None:
        self._engine = engine
        self._decision = decision
        self._share = mlp_share
        full = Layout.full(engine.shape.layers)
        self._layout = decision.depth.layout if decision.depth else full
        self._attention, self._mlp = sum(self._layout.attention), sum(self._layout.mlp)
        self._prices = prices
        self._seconds: Callable[[int, int, float], float] = cache(self._pass_seconds)
        self._work: Callable[[int, int, int], tuple[int, int]] = cache(self._pass_work)

    def cost(self, sample: Sample) -> tuple[float, float, float]:
        """Return price, flops and bytes of reading a prompt and writing its answer."""
        passes: list[tuple[int, int]] = []
        step = self.steps(sample)

        def counted(n: int, context: int) -> float:
            passes.append((n, context))
            return step(n, context)

        drafter = self._decision.draft
        writing = replayed(drafter, self.start(sample), sample.written, counted, sample.room)
        price, flops, read = self.reading(sample)
        held = held_entries(self._decision.cache, len(sample.prompt))
        works = [self._work(n, held(context), n) for n, context in passes]
        return (
            price + writing.price,
            flops + sum(work[0] for work in works),
            read + sum(work[1] for work in works),
        )

    def steps(self, sample: Sample) -> StepPrice:
        """Return the price of a step of this row."""
        held = held_entries(self._decision.cache, len(sample.prompt))
        return lambda n, context: self._seconds(n, held(context), self._share)

    def reading(self, sample: Sample) -> tuple[float, float, float]:
        """Return price, flops and bytes of reading the prompt, and of what borders take."""
        read = len(sample.prompt)
        price = self._prices.seconds(read, 0, attention=self._attention, mlp=self._mlp, head_rows=1)
        flops, bytes_read = self._work(read, 0, 1)
        products = self._attention * compacting_products(
            self._decision.cache, self._engine.shape, read, read + len(sample.answer)
        )
        rate = self._prices.mlp[-1] / (self._prices.tokens[-1] * self._engine.shape.mlp_weights)
        return price + products * rate, flops + 2.0 * products, float(bytes_read)

    def start(self, sample: Sample) -> DraftStart:
        """Return what draft sources see when the row starts."""
        return DraftStart(
            prompt=sample.prompt,
            special=self._engine.special,
            # as the engines tell it: what a dynamic decision saves is not known beforehand
            step_seconds=lambda n, context: self._seconds(n, context, 1.0),
        )

    def _pass_seconds(self, n: int, context: int, share: float) -> float:
        mlp = self._mlp * share
        return self._prices.seconds(n, context, attention=self._attention, mlp=mlp, head_rows=n)

    def _pass_work(self, n: int, context: int, head_rows: int) -> tuple[int, int]:
        work = self._engine.pass_work(
            n,
            context=context,
            layout=self._layout,
            head_rows=head_rows,
            mlp_share=self._share,
        )
        return work.flops, work.bytes
