"""The cheapest choices that keep a loss, knowing what each would have lost, and their controls.

A unit (a token, a window of tokens, a text) takes one of several choices: where to leave the model,
which sub-layers to run, which setting of a plan. The oracle knows every loss beforehand, as in
Duo-LLM (arXiv 2410.10846), so it also profits from luck: with enough choices one fits any unit.
`chance` is its price on a table each column of which was shuffled by itself: choices keep how much
they lose, and it is a unit's luck which of them lose there (ours). It is no bound: where hard units
are hard under every choice, shuffling makes the look back cheaper.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SHUFFLES = 5


class Chosen(NamedTuple):
    """What the oracle takes."""

    price: float
    """Mean over units; a last unit may count in part, so no rule is cheaper."""
    choices: Ints
    """[units], the part of the last one left out: together they keep the limit."""


@dataclass(frozen=True, kw_only=True)
class Hindsight:
    """Mean prices of a unit that keep one limit."""

    base: float
    """Of the choice that everything is compared with."""
    oracle: float
    static: float
    """Of the best single choice for all units."""
    random: float
    """Of the best lottery over choices, drawn without a look at the unit."""
    chance: float
    """Of the oracle where losses fall on units at random."""

    def share(self, price: float) -> float | None:
        """Return which share of the oracle's saving a price reaches."""
        return share_of_saving(self.base, price, self.oracle)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the shares that the controls reach."""
        shares = {f"{n}_share": self.share(getattr(self, n)) for n in ("static", "random")}
        return asdict(self) | shares


def share_of_saving(base: float, own: float, oracle: float) -> float | None:
    """Return (base - own) / (base - oracle); None where hindsight saves nothing."""
    return (base - own) / (base - oracle) if base > oracle else None


def hindsight(
    losses: Floats, prices: ArrayLike, limit: float, *, base: int = 0, seed: int = 0
) -> Hindsight:
    """Compare the oracle with its controls at one limit.

    Args:
        losses: of every unit under every choice, [units, choices].
        prices: [choices], or [units, choices] where they depend on the unit.
        limit: largest mean loss; at least that of the base.
        base: the choice that everything is compared with.
        seed: of the shuffles.
    """
    table = np.broadcast_to(np.asarray(prices, dtype=np.float64), losses.shape)
    means, costs = losses.mean(axis=0), table.mean(axis=0)
    draw = np.random.default_rng(seed)
    shuffled = []
    for _ in range(SHUFFLES):
        order = draw.permuted(np.tile(np.arange(len(losses))[:, None], losses.shape[1]), axis=0)
        rows = np.take_along_axis(losses, order, axis=0)
        shuffled.append(cheapest(rows, np.take_along_axis(table, order, axis=0), limit).price)
    return Hindsight(
        base=float(costs[base]),
        oracle=cheapest(losses, table, limit).price,
        static=float(costs[means <= limit].min(initial=costs[base])),
        random=cheapest(means[None], costs[None], limit).price,
        chance=float(np.mean(shuffled)),
    )


def cheapest(losses: Floats, prices: ArrayLike, limit: float) -> Chosen:
    """Return the cheapest choices, one a unit, whose mean loss is at most `limit`.

    Every unit begins at its least loss and moves along the lower hull of (loss, price); moves are
    made by what they save for the loss they add, over all units, until the limit is reached: the
    linear relaxation of a knapsack with one choice a unit, which is never over the best price.
    """
    table = np.broadcast_to(np.asarray(prices, dtype=np.float64), losses.shape)
    hulls = [_hull(*row) for row in zip(losses, table, strict=True)]
    at = np.array([hull[0] for hull in hulls], dtype=np.int64)
    rows = np.arange(len(losses))
    room = limit * len(losses) - float(losses[rows, at].sum())
    price = float(table[rows, at].sum())
    moves = sorted(
        (
            ((table[u, a] - table[u, b]) / (losses[u, b] - losses[u, a]), u, b)
            for u, hull in enumerate(hulls)
            for a, b in pairwise(hull)
        ),
        key=lambda move: -move[0],
    )
    for _, unit, to in moves:
        added = float(losses[unit, to] - losses[unit, at[unit]])
        saved = float(table[unit, at[unit]] - table[unit, to])
        if added > room + 1e-12:
            price -= saved * max(room, 0.0) / added
            break
        room, price = room - added, price - saved
        at[unit] = to
    return Chosen(price / len(losses), at)


def _hull(losses: Floats, prices: Floats) -> list[int]:
    """Return choices on the lower hull, by growing loss and falling price."""
    kept: list[int] = []
    for i in np.lexsort((prices, losses)):
        if kept and prices[i] >= prices[kept[-1]]:
            continue
        while len(kept) > 1 and _above(losses, prices, kept[-2], kept[-1], int(i)):
            kept.pop()
        kept.append(int(i))
    return kept


def _above(losses: Floats, prices: Floats, a: int, b: int, c: int) -> bool:
    """Return whether choice b lies on or over the line from a to c."""
    before = (prices[a] - prices[b]) * (losses[c] - losses[b])
    behind = (prices[b] - prices[c]) * (losses[b] - losses[a])
    return bool(before <= behind)
