"""StreamingLLM: the first tokens and the newest ones stay in the cache (arXiv 2309.17453).

The first tokens draw attention whatever they say, so a window without them fails. Ours: kept
entries keep their own positions (the paper renumbers them within the cache); the window is what
the dial's share leaves beside the sinks, and moves at borders instead of every token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from rheostat.kernel.kv_cache import Border, CachePlan, Held, Kept
from rheostat.kernel.method import Card
from rheostat.kernel.policies.kv_budget import BudgetedEviction, budget_at, check_budget, taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class SinkWindow:
    """Keeps the first and the newest tokens."""

    sinks: int = 4
    """First tokens that stay."""
    window: int = 32
    """Newest tokens that stay at every dial."""
    every: int = 64
    """Tokens between two borders, where entries are let go."""

    card: ClassVar[Card] = Card(
        name="sink_window",
        title="keeps the first and the newest tokens in the cache",
        seam="cache",
        exactness="lossy",
        paper="arXiv:2309.17453",
        paper_title="Efficient Streaming Language Models with Attention Sinks",
        authors="Guangxuan Xiao, Yuandong Tian, Beidi Chen, Song Han, Mike Lewis",
        needs=frozenset({"cache.entries"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        check_budget("sink_window", sinks=self.sinks, window=self.window, every=self.every)

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> CachePlan | None:
        """Keep a share of 1 - dial of the entries."""
        budget = budget_at(dial, sinks=self.sinks, window=self.window, every=self.every)
        return None if budget is None else CachePlan(_Window(budget))


@final
@dataclass(frozen=True)
class _Window(BudgetedEviction):
    def compact(self, held: Held, border: Border) -> Kept:
        heads, entries = held.counts.shape
        kept = self.budget.entries(border.tokens)
        newest = np.arange(entries - (kept - self.budget.sinks), entries)
        index = np.concatenate([np.arange(self.budget.sinks), newest])
        return Kept(taken(held, np.broadcast_to(index, (heads, kept))))
