"""How many cache entries stay, and taking them by a score: shared by methods that let entries go.

The share that is kept is 1 - dial. A row of T tokens holds at most share x T entries just before
each border, what was written since the last one included; the first tokens (the attention sinks
of arXiv:2309.17453) and the newest ones always stay, so a short row may hold more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import Held

if TYPE_CHECKING:
    from rheostat.kernel.kv_cache import Singles
    from rheostat.kernel.seams import Ints


@final
@dataclass(frozen=True, kw_only=True)
class KvBudget:
    """The entries that stay of a row."""

    share: float
    """Entries kept, as a share of the row's tokens, in [0, 1)."""
    sinks: int
    """First tokens that always stay."""
    window: int
    """Newest tokens that always stay."""
    every: int
    """Tokens between two borders."""

    def entries(self, tokens: int) -> int:
        """Return the entries that stay of a row of so many tokens."""
        before_next = math.floor(self.share * (tokens + self.every))
        return max(self.sinks + self.window, before_next - self.every)

    def ranked(self, scores: Singles) -> Ints:
        """Return every head's entries, from the first that stays to the first that goes.

        Args:
            scores: [heads, entries]; one that is not a number is the lowest.

        Returns:
            Indices, [heads, entries].
        """
        ordered = np.where(np.isnan(scores), -math.inf, scores)
        ordered[:, : self.sinks] = math.inf
        ordered[:, max(scores.shape[1] - self.window, 0) :] = math.inf
        ranking: Ints = np.argsort(-ordered, axis=1, kind="stable")
        return ranking


@dataclass(frozen=True)
class BudgetedEviction:
    """The parts of an `Eviction` that follow from its budget; by itself it reads no attention."""

    budget: KvBudget
    newest: int | None = 0
    """Of how many of the newest tokens the attention is read; None = of all."""

    @property
    def every(self) -> int:
        """Tokens between two borders."""
        return self.budget.every

    def entries(self, tokens: int) -> int:
        """Return the entries that stay of a row of so many tokens."""
        return self.budget.entries(tokens)

    def observe(self, weights: Singles, state: Any) -> Any:
        """Take no attention in."""
        return state


def budget_at(dial: float, *, sinks: int, window: int, every: int) -> KvBudget | None:
    """Return the budget of a dial; None at dial 0, which lets nothing go."""
    if dial == 0:
        return None
    return KvBudget(share=1 - dial, sinks=sinks, window=window, every=every)


def check_budget(method: str, *, sinks: int, window: int, every: int) -> None:
    """Refuse parameters out of range."""
    for name, value, least in (("sinks", sinks, 0), ("window", window, 1), ("every", every, 1)):
        if value < least:
            raise MethodError(f"`{method}.{name}` must be at least {least}, got `{value}`")


def taken(held: Held, index: Ints) -> Held:
    """Return the entries [heads, kept] of every head."""
    return Held(
        keys=np.take_along_axis(held.keys, index[..., None], axis=1),
        values=np.take_along_axis(held.values, index[..., None], axis=1),
        counts=np.take_along_axis(held.counts, index, axis=1),
    )


def places_of(known: Ints | None, heads: int, entries: int, tokens: int) -> Ints:
    """Return the positions of the tokens that a slot's entries come from, [heads, entries].

    Args:
        known: those of the entries that the last border left, [heads, fewer]; None = all tokens
            are held.
        tokens: tokens of the row; the newest entries are its newest tokens.
    """
    old = 0 if known is None else known.shape[1]
    new = np.arange(tokens - entries + old, tokens)
    repeated = np.broadcast_to(new, (heads, len(new)))
    return repeated if known is None else np.concatenate([known, repeated], axis=1)
