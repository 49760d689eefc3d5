"""Control of the cache seam: entries stay by lot, every head and layer its own.

A token's lot is drawn once and what one border lets go stays gone, so kept sets are nested by the
dial. As many entries as those of the methods that it controls, the same sinks and newest tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import Border, CachePlan, Held, Kept
from rheostat.kernel.method import Card
from rheostat.kernel.policies.kv_budget import (
    BudgetedEviction,
    budget_at,
    check_budget,
    places_of,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class RandomKeep:
    """Keeps entries by lot."""

    sinks: int = 4
    """First tokens that stay."""
    window: int = 32
    """Newest tokens that stay at every dial."""
    every: int = 64
    """Tokens between two borders, where entries are let go."""
    draw: int = 0
    """Seed of the lots."""

    card: ClassVar[Card] = Card(
        name="random_keep",
        title="keeps cache entries by lot",
        seam="cache",
        exactness="lossy",
        paper="control",
        needs=frozenset({"cache.entries"}),
        control=True,
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        check_budget("random_keep", sinks=self.sinks, window=self.window, every=self.every)
        if self.draw < 0:
            raise MethodError(f"`random_keep.draw` must be 0 or more, got `{self.draw}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> CachePlan | None:
        """Keep a share of 1 - dial of the entries."""
        budget = budget_at(dial, sinks=self.sinks, window=self.window, every=self.every)
        return None if budget is None else CachePlan(_Lots(budget, draw=self.draw))


@final
@dataclass(frozen=True)
class _Lots(BudgetedEviction):
    draw: int = 0

    def compact(self, held: Held, border: Border) -> Kept:
        heads, entries = held.counts.shape
        places = places_of(border.state, heads, entries, border.tokens)
        lots = np.stack(
            [
                np.random.default_rng([self.draw, border.slot, head]).random(border.tokens)
                for head in range(heads)
            ]
        )
        scores = np.take_along_axis(lots, places, axis=1).astype(np.float32)
        kept = self.budget.entries(border.tokens)
        index = np.sort(self.budget.ranked(scores)[:, :kept], axis=1)
        return Kept(taken(held, index), state=np.take_along_axis(places, index, axis=1))
