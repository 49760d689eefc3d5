"""A rule that weighs votes by the confidence of each sample's last tokens, and stops at a share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.policies.drawing import Verdict
from rheostat.kernel.policies.votes import Vote, ranked
from rheostat.kernel.samples import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.votes import Seen
    from rheostat.kernel.samples import SampleStart


@dataclass(frozen=True, kw_only=True)
class TailShare:
    """Stops when the leader holds a share of all weight, after at least some samples."""

    threshold: float | None
    """Share of the weight, in [0, 1); None = all samples are drawn."""
    tail: int
    """Last tokens of a sample that its weight is the geometric mean probability of."""
    least: int
    """Samples before the first stop."""

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Stop, or count the samples of weight 1 for the leader that it takes at least."""
        left = start.samples - len(seen)
        weights = self.weights(seen)
        best, total = self.best(seen, start), sum(weights)
        lead = best.weight if best else 0.0
        wait = max(0, min(self.least, start.samples) - len(seen))
        enough = self.threshold is not None and best is not None and lead >= self.threshold * total
        if left == 0 or (enough and wait == 0):
            return Verdict(
                vote=best,
                settled=True,
                confidence=lead / total if total > 0 else None,
                reason="samples" if left == 0 else "settled",
            )
        if self.threshold is None or self.threshold >= 1:
            return left
        missing = (self.threshold * total - lead) / (1 - self.threshold)
        return max(1, wait, min(left, math.ceil(missing - 1e-9)))

    def weights(self, seen: Sequence[Seen]) -> list[float]:
        """Return the weight of each sample, in (0, 1]; unknown ones weigh the mean of the known."""
        known = [self._confidence(sample) for sample in seen]
        given = [value for value in known if value is not None]
        usual = sum(given) / len(given) if given else 1.0
        return [
            0.0 if sample.answer is None else usual if value is None else value
            for sample, value in zip(seen, known, strict=True)
        ]

    def _confidence(self, sample: Seen) -> float | None:
        outcome = sample.outcome
        if not isinstance(outcome, Ended) or not outcome.logprobs:
            return None
        last = outcome.logprobs[-self.tail :]
        mean = sum(last) / len(last)
        return None if math.isnan(mean) else math.exp(max(-50.0, min(0.0, mean)))

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the answer of most weight."""
        return next(iter(ranked(seen, self.weights(seen))), None)
