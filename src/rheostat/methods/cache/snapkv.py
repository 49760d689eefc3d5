"""SnapKV: what the newest tokens look at stays in the cache, every head its own (arXiv 2404.14469).

At a border, an entry's score is the mean attention that the newest tokens pay to it, averaged over
a few neighbours so that what surrounds a match stays as well. Ours: the paper compresses the prompt
once; here later borders do the same to what was written since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import Border, CachePlan, Held, Kept
from rheostat.kernel.method import Card
from rheostat.kernel.policies.kv_budget import BudgetedEviction, budget_at, check_budget, taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.kv_cache import Singles
    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class SnapKv:
    """Keeps what the newest tokens look at."""

    sinks: int = 4
    """First tokens that stay."""
    window: int = 32
    """Newest tokens that stay at every dial, and whose attention is read."""
    every: int = 64
    """Tokens between two borders, where entries are let go."""
    pool: int = 7
    """Neighbouring entries over which a score is averaged; odd."""

    card: ClassVar[Card] = Card(
        name="snapkv",
        title="keeps the cache entries that the newest tokens look at",
        seam="cache",
        exactness="lossy",
        paper="arXiv:2404.14469",
        paper_title="SnapKV: LLM Knows What You are Looking for Before Generation",
        authors=(
            "Yuhong Li, Yingbing Huang, Bowen Yang, Bharat Venkitesh, Acyr Locatelli, Hanchen "
            "Ye, Tianle Cai, Patrick Lewis, Deming Chen"
        ),
        needs=frozenset({"cache.entries", "signal.attention"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        check_budget("snapkv", sinks=self.sinks, window=self.window, every=self.every)
        if self.pool < 1 or self.pool % 2 == 0:
            raise MethodError(f"`snapkv.pool` must be odd and at least 1, got `{self.pool}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> CachePlan | None:
        """Keep a share of 1 - dial of the entries."""
        budget = budget_at(dial, sinks=self.sinks, window=self.window, every=self.every)
        return (
            None if budget is None else CachePlan(_LookedAt(budget, budget.window, pool=self.pool))
        )


@final
@dataclass(frozen=True)
class _LookedAt(BudgetedEviction):
    pool: int = 1

    def observe(self, weights: Singles, state: Any) -> Any:
        return weights.mean(axis=1)

    def compact(self, held: Held, border: Border) -> Kept:
        scores = pooled(border.state, self.pool)
        kept = self.budget.entries(border.tokens)
        return Kept(taken(held, np.sort(self.budget.ranked(scores)[:, :kept], axis=1)))


def pooled(scores: Singles, size: int) -> Singles:
    """Return the mean of each score and its neighbours, as many as there are: [heads, entries]."""
    side = size // 2
    padded = np.pad(scores.astype(np.float64), ((0, 0), (side + 1, side)))
    sums = padded.cumsum(axis=1)
    near = sums[:, size:] - sums[:, :-size]
    entries = scores.shape[1]
    ends = np.minimum(np.arange(entries) + side + 1, entries)
    starts = np.maximum(np.arange(entries) - side, 0)
    averaged: Singles = (near / (ends - starts)).astype(np.float32)
    return averaged
