"""Small policies of samples for tests of the driver: plain counts, nothing learnt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rheostat.kernel.samples import Closed, Ended, Finish, Launch, Lost, Step


@dataclass(frozen=True)
class Lead:
    """Draws bursts of samples until an answer leads by some votes, or one is verified."""

    by: int = 2
    burst: int = 1

    def start(self, start):
        return start, (), 0

    def step(self, state, event):
        start, seen, launched = state
        if isinstance(event, Closed):
            return Step(state, [self.finish(seen, event.reason, settled=False)])
        if isinstance(event, Ended | Lost):
            seen = (*seen, event)
        if isinstance(event, Ended) and event.verified:
            return Step(None, [self.finish((event,), "verified", settled=True)])
        ranked = self.votes(seen).most_common(2) + [(None, 0)] * 2
        if ranked[0][1] - ranked[1][1] >= self.by:
            return Step(None, [self.finish(seen, "settled", settled=True)])
        if len(seen) == start.samples:
            return Step(None, [self.finish(seen, "samples", settled=False)])
        if launched > len(seen):
            return Step((start, seen, launched), [])
        count = min(self.burst, start.samples - launched)
        return Step((start, seen, launched + count), [Launch(count=count)])

    @staticmethod
    def votes(seen):
        return Counter(e.answer for e in seen if isinstance(e, Ended) and e.answer is not None)

    def finish(self, seen, reason, *, settled):
        answer = next(iter(self.votes(seen).most_common(1)), (None, 0))[0]
        index = next((e.index for e in seen if isinstance(e, Ended) and e.answer == answer), None)
        return Finish(
            answer=answer,
            index=None if answer is None else index,
            settled=settled,
            confidence=None,
            reason=reason,
        )
