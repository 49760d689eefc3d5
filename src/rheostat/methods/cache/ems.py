"""EMS: evict, then merge, every head by itself (arXiv 2412.08521).

At a border each head ranks its entries by a global-local score: the attention that an entry
received, per token that could see it, plus the attention that the newest tokens pay to it, each
divided by its maximum. The first M are centres; the next ones (at most `merged` x M) each join the
centre whose key is the most similar, or vanish where no cosine exceeds `similarity`: the zero class
that lets every head merge as much as suits it while all heads hold M entries. The rest is evicted.

Ours, where the paper's constants were not found: the sum of the two scores, `merged`, `similarity`,
the sinks and the window; an entry of c tokens has log c added to its attention score, without which
it would weigh as a single token; values are merged by score, keys only where `merge_keys` asks for
it (turned keys of distant positions blur each other), as a direction at the centre's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, final

import numpy as np

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import Border, CachePlan, Held, Kept
from rheostat.kernel.method import Card
from rheostat.kernel.policies.kv_budget import BudgetedEviction, budget_at, check_budget
from rheostat.kernel.policies.kv_merge import merged_entries, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.kv_cache import Singles
    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class Ems:
    """Evicts entries and merges others into the ones that stay."""

    sinks: int = 4
    """First tokens that stay."""
    window: int = 32
    """Newest tokens that stay at every dial, and whose attention is the local score."""
    every: int = 64
    """Tokens between two borders, where entries are let go."""
    merged: float = 1.0
    """Entries that may be merged, as a multiple of those that stay; 0 = all others are evicted."""
    similarity: float = 0.6
    """Cosine of two keys over which they are merged; 1 = all others are evicted."""
    merge_keys: bool = False
    """Whether keys are merged as well as values."""

    card: ClassVar[Card] = Card(
        name="ems",
        title="evicts cache entries and merges others, every head by itself",
        seam="cache",
        exactness="lossy",
        paper="arXiv:2412.08521",
        paper_title=(
            "EMS: Adaptive Evict-then-Merge Strategy for Head-wise KV Cache Compression Based "
            "on Global-Local Importance"
        ),
        authors="Yingxin Li, Ye Li, Yuan Meng, Xinzhu Ma, Zihan Geng, Shutao Xia, Zhi Wang",
        needs=frozenset({"cache.entries", "signal.attention"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        check_budget("ems", sinks=self.sinks, window=self.window, every=self.every)
        if not self.merged >= 0:
            raise MethodError(f"`ems.merged` must be 0 or more, got `{self.merged}`")
        if not -1 <= self.similarity <= 1:
            raise MethodError(f"`ems.similarity` must be from -1 to 1, got `{self.similarity}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> CachePlan | None:
        """Keep a share of 1 - dial of the entries."""
        budget = budget_at(dial, sinks=self.sinks, window=self.window, every=self.every)
        return None if budget is None else CachePlan(_EvictThenMerge(budget, None, self))


class _Attention(NamedTuple):
    """What is known of a slot's entries, each [heads, entries]."""

    received: Singles
    """Attention received, summed over tokens."""
    seen: Singles
    """Tokens that could see the entry."""
    local: Singles
    """Mean attention that the newest tokens pay to it; nothing is kept of it behind a border."""


@final
@dataclass(frozen=True)
class _EvictThenMerge(BudgetedEviction):
    method: Ems = Ems()

    def observe(self, weights: Singles, state: Any) -> Any:
        n, entries = weights.shape[1:]
        received, seen = weights.sum(axis=1), np.full((len(weights), entries), n, np.float32)
        seen[:, entries - n :] = np.arange(n, 0, -1)
        if state is not None:
            old = state.received.shape[1]
            received[:, :old] += state.received
            seen[:, :old] += state.seen
        return _Attention(received, seen, weights[:, -self.budget.window :].mean(axis=1))

    def compact(self, held: Held, border: Border) -> Kept:
        known: _Attention = border.state
        scores = _scaled(known.received / known.seen) + _scaled(known.local)
        kept = self.budget.entries(border.tokens)
        ranking = self.budget.ranked(scores)
        centres = np.sort(ranking[:, :kept], axis=1)
        others = ranking[:, kept : kept + int(self.method.merged * kept)]
        into = nearest(held.keys, centres, others, self.method.similarity, border.multiply)
        entries = merged_entries(held, scores, centres, others, into, keys=self.method.merge_keys)
        received = np.take_along_axis(known.received, centres, axis=1)
        heads, joining = np.nonzero(into >= 0)
        joined = np.take_along_axis(known.received, others, axis=1)[heads, joining]
        np.add.at(received, (heads, into[heads, joining]), joined)
        seen = np.take_along_axis(known.seen, centres, axis=1)
        return Kept(entries, _Attention(received, seen, received[:, :0].copy()))


def _scaled(scores: Singles) -> Singles:
    """Divide every head's scores by their maximum; what is not a number counts as nothing."""
    numbers = np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
    most = numbers.max(axis=1, keepdims=True)
    scaled: Singles = (numbers / np.where(most > 0, most, 1)).astype(np.float32)
    return scaled
