"""How many draft tokens are worth verifying, from a measured cost table.

When the first k drafts all hold with probability S(k), a step over k drafts writes
1 + S(1) + ... + S(k) tokens and costs c(k + 1); an ordinary step writes one and costs c(1). The
best k maximises tokens per second. The formula of the gain is the one of speculative decoding;
choosing k by a lookup in a measured, possibly non-monotone table in place of a constant is ours.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def best_length(
    survival: Sequence[float],
    limit: int,
    seconds: Sequence[float],
    affordable: float = inf,
) -> tuple[int, float]:
    """Return the k in 0..limit with the most expected tokens per second, 0 on a tie, and its rate.

    Args:
        survival: entry k - 1 is the probability that the first k drafts all hold, at least
            `limit` entries.
        seconds: entry n - 1 is the cost of a pass over n new tokens, at least `limit + 1`.
        affordable: most that the pass may cost.
    """
    best, best_rate, tokens = 0, 1.0 / seconds[0], 1.0
    for k in range(1, limit + 1):
        tokens += survival[k - 1]
        rate = tokens / seconds[k]
        if rate > best_rate and seconds[k] <= affordable:
            best, best_rate = k, rate
    return best, best_rate
