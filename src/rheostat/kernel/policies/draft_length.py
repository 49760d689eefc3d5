"""How many draft tokens are worth verifying, from a measured cost table.

With acceptance probability p for each further token (given that the ones before it held), a step
over k drafts writes 1 + p + ... + p^k tokens and costs c(k + 1); an ordinary step writes one and
costs c(1). The best k maximises tokens per second. The formula of the gain is the one of
speculative decoding; choosing k by a lookup in a measured, possibly non-monotone table in place
of a constant is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

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


@final
@dataclass(frozen=True, kw_only=True)
class LengthTable:
    """The best lengths of one cost table, filled as they are asked for."""

    seconds: tuple[float, ...]
    """Seconds of a pass over 1, 2, ... new tokens."""
    levels: int = 64
    """Resolution of the acceptance: it is rounded down to a multiple of 1 / levels."""
    known: dict[tuple[int, int], int] = field(default_factory=dict)
    """(level of acceptance, limit) -> best length."""

    @staticmethod
    def up_to(longest: int, step_seconds: StepSeconds) -> LengthTable:
        """Read the costs of drafts of at most `longest` tokens."""
        return LengthTable(seconds=tuple(step_seconds(n) for n in range(1, longest + 2)))

    def best(self, p: float, limit: int) -> int:
        """Return `best_length`, remembered."""
        level = int(p * self.levels)
        length = self.known.get((level, limit))
        if length is None:
            length = best_length(level / self.levels, limit, lambda n: self.seconds[n - 1])
            self.known[level, limit] = length
        return length
