"""How many draft tokens are worth verifying, from a measured cost table.

With acceptance probability p for each further token (given that the ones before it held), a step
over k drafts writes 1 + p + ... + p^k tokens and costs c(k + 1); an ordinary step writes one and
costs c(1). The best k maximises tokens per second. The formula of the gain is the one of
speculative decoding; choosing k by a lookup in a measured, possibly non-monotone table in place
of a constant is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rheostat.kernel.seams import StepSeconds


def expected_tokens(p: float, k: int) -> float:
    """Return the expected tokens written by a step over k drafts: 1 + p + ... + p^k."""
    return float(k + 1) if p >= 1.0 else (1.0 - p ** (k + 1)) / (1.0 - p)


def best_length(p: float, limit: int, step_seconds: StepSeconds) -> int:
    """Return the k in 0..limit with the most expected tokens per second; 0 on a tie."""
    best, best_rate = 0, 1.0 / step_seconds(1)
    for k in range(1, limit + 1):
        rate = expected_tokens(p, k) / step_seconds(k + 1)
        if rate > best_rate:
            best, best_rate = k, rate
    return best
