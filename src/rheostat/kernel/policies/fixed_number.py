"""A rule that draws a fixed share of the plan's samples, and lets weighted votes decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.policies.drawing import Verdict
from rheostat.kernel.policies.votes import Vote, ranked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.kernel.policies.votes import Seen
    from rheostat.kernel.samples import SampleStart


@dataclass(frozen=True, kw_only=True)
class FixedNumber:
    """Votes over the first max(1, round(kept N)) samples."""

    kept: float
    """Share of the plan's samples that are drawn, in [0, 1]."""
    weigh: Callable[[Sequence[Seen]], Sequence[float]] | None = None
    """One weight a sample, at least 0; None = each counts 1."""

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Wait for the last of them."""
        last = self.number(start)
        if len(seen) < last:
            return last - len(seen)
        return Verdict(vote=self.best(seen, start), settled=True, confidence=None, reason="samples")

    def number(self, start: SampleStart) -> int:
        """Return how many samples are drawn."""
        return max(1, math.floor(self.kept * start.samples + 0.5))

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the answer of most weight."""
        weights = self.weigh(seen) if self.weigh else None
        return next(iter(ranked(seen, weights)), None)
