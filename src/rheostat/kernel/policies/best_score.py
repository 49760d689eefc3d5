"""A rule that keeps the sample of the highest score, and stops at one that is high enough."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.policies.drawing import Verdict
from rheostat.kernel.policies.votes import Vote
from rheostat.kernel.samples import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.votes import Seen
    from rheostat.kernel.samples import Ended, SampleStart


def judged(ended: Ended, start: SampleStart) -> Score | None:
    """Ask the judge about a sample that has an answer, unless a verifier tells."""
    return None if start.verifier or ended.answer is None else Score(index=ended.index)


@dataclass(frozen=True, kw_only=True)
class BestScore:
    """Answers with the best sample so far; `settled` once one reaches the threshold."""

    threshold: float | None
    """In [0, 1]; None = all samples of the plan are drawn."""

    def look(self, seen: Sequence[Seen], start: SampleStart) -> Verdict | int:
        """Stop at a high score, or after the last sample."""
        best = self.best(seen, start)
        reached = best is not None and self.threshold is not None and best.weight >= self.threshold
        if not reached and len(seen) < start.samples:
            return 1 if self.threshold is not None else start.samples - len(seen)
        verified = best is not None and seen[best.first].verified
        settled = reached or (verified if start.verifier else True)
        return Verdict(
            vote=best,
            settled=settled,
            confidence=1.0 if verified else None,
            reason="verified" if reached and verified else "settled" if reached else "samples",
        )

    def best(self, seen: Sequence[Seen], start: SampleStart) -> Vote | None:
        """Return the highest score; equal ones by the votes for the answer, then by launch."""
        counts = Counter(sample.answer for sample in seen)
        votes = [
            Vote(sample.answer, i, counts[sample.answer], score(sample))
            for i, sample in enumerate(seen)
            if sample.answer is not None
        ]
        return max(votes, key=lambda vote: (vote.weight, vote.votes, -vote.first), default=None)


def score(sample: Seen) -> float:
    """Return what the verifier or the judge gave it; 0 when neither said anything."""
    if sample.verified:
        return 1.0
    value = sample.value
    return value if value is not None and 0.0 <= value <= 1.0 else 0.0
