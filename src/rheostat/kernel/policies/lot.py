"""A rule that draws lots: the control of rules that look at answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.policies.drawing import Verdict
from rheostat.kernel.policies.votes import Vote, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.votes import Seen
    from rheostat.kernel.samples import SampleStart


@dataclass(frozen=True, kw_only=True)
class Lot:
    """Stops after a number of samples that is drawn from the question's seed, of mean kept N."""

    kept: float
    """Share of the plan's samples that is drawn on average, in [0, 1]."""

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Wait for the sample that was drawn by lot."""
        last = self.drawn(start)
        if len(seen) < last:
            return last - len(seen)
        return Verdict(vote=self.best(seen, start), settled=True, confidence=None, reason="samples")

    def drawn(self, start: SampleStart) -> int:
        """Return the number of samples: even lots in a range around the mean, cut at 1 and N."""
        mean = max(1.0, self.kept * start.samples)
        reach = min(mean - 1.0, start.samples - mean)
        lot = np.random.default_rng([start.seed, 0x10]).uniform(-reach, reach)
        return int(np.clip(round(mean + lot), 1, start.samples))

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the majority."""
        return next(iter(ranked(seen)), None)
