"""What drafts by forward passes cost: the price of a step that makes one, and bounds on them all.

Rows that draft by forward passes are taken to draft alike and together: with b rows, a step that
drafts k tokens costs k passes over b tokens, and a verifying pass over b (k + 1), of which the
layers that a draft has run read b alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rheostat.engines.torch_acceptance import loaded_head
from rheostat.engines.torch_budget import MostDrafting
from rheostat.engines.torch_draft_forward import head_seconds, own_plan
from rheostat.engines.torch_parts import part_seconds
from rheostat.engines.torch_prices import most_parts
from rheostat.kernel.model_cost import interpolated
from rheostat.kernel.seams import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.model_cost import PriceTable
    from rheostat.kernel.seams import DraftingSeconds, Forward, Installed


def drafting_seconds(engine: TorchEngine, installed: Installed, rows: int) -> DraftingSeconds:
    """Return what a step costs whose draft takes forward passes, for one of so many rows."""
    depth, prices = engine.depth(installed), prices_of_drafts(engine, installed)
    whole = engine.prices(installed)

    def head(n: int) -> float:
        return prices.fixed + interpolated(prices.tokens, prices.head, n)

    def own(forward: Forward, k: int, context: int) -> float:
        assert forward.layout is not None
        plan = own_plan(depth, forward.layout)
        above = depth.layout.within(plan.layer, len(depth.layout.attention))
        drafting = head(rows) + part_seconds(prices, rows, context, plan.whole)
        if forward.head:
            weights = loaded_head(forward.head).weights
            drafting += head_seconds(prices, weights, engine.llama, rows)
        verifying = head(rows * (k + 1)) + part_seconds(whole, rows * (k + 1), context, above)
        return k * drafting + verifying + part_seconds(prices, rows, context, plan.below)

    def other(forward: Forward, k: int, unread: int, context: int) -> float:
        model = engine.drafting_model(forward.model)
        passes = [_whole(model, rows * unread, context), *[_whole(model, rows, context)] * (k - 1)]
        n = rows * (k + 1)
        return sum(passes) + head(n) + part_seconds(whole, n, context, depth.layout)

    def seconds(forward: Forward, k: int, unread: int, context: int) -> float:
        if forward.layout is not None:
            return own(forward, k, context)
        return other(forward, k, unread, context)

    return seconds


def most_drafting(
    engine: TorchEngine,
    installed: Installed,
    forwards: Sequence[tuple[Forward, int]],
    chunk: int,
) -> MostDrafting:
    """Bound the passes of a row's drafts and their price, whatever is drafted and accepted."""
    depth, prices, shape = (
        engine.depth(installed),
        prices_of_drafts(engine, installed),
        engine.shape,
    )
    own = [own_plan(depth, f.layout).whole for f, _ in forwards if f.layout is not None]
    others = [engine.drafting_model(f.model) for f, _ in forwards if f.layout is None]
    reading = [most_parts(m.prices(), m.shape, Layout.full(m.shape.layers)) for m in others]
    one = [most_parts(prices, shape, layout)(1) for layout in own]
    for forward, _ in forwards:
        if forward.head:
            share = loaded_head(forward.head).weights / shape.mlp_weights
            one = [*one, max(one) + share * most_parts(prices, shape, _one_mlp(shape.layers))(1)]
    return MostDrafting(
        cap=max(cap for _, cap in forwards),
        chunk=chunk,
        verifying=most_parts(engine.prices(installed), shape, depth.layout),
        one=max([*one, *(most(1) for most in reading)]),
        reading=tuple(reading),
    )


def prices_of_drafts(engine: TorchEngine, installed: Installed) -> PriceTable:
    """Return the table of passes that draft with the own layers, where no policy decides."""
    return engine.prices(replace(installed, depth=None))


def _one_mlp(layers: int) -> Layout:
    return Layout((False,) * layers, (True, *[False] * (layers - 1)))


def _whole(engine: TorchEngine, n: int, context: int) -> float:
    """Price a pass of another model over n tokens, of which each row's last goes on to the head."""
    layers = engine.shape.layers
    return engine.prices().seconds(n, context, attention=layers, mlp=layers, head_rows=1)
