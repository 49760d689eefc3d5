"""`AllOrOne`: run a piece of work on all threads, or on one, whichever was faster of late (ours).

Threads that meet many times in a piece of work are slower than one thread as soon as another
program wants one of their cores, and how slow no table measured at start-up can know. Where the
results are the same either way, the choice may follow the times: the faster way is kept, and the
other one is tried so seldom that trials cost a fixed share of the time.
"""

from __future__ import annotations

import math
from typing import final

FIRST = 16
"""The fewest pieces of work between two trials."""
TRIES = 2
"""Pieces of work of a trial, of which the last counts: threads that rested start slowly."""
SHARE = 0.02
"""Of the time, that trials may cost."""
WEIGHT = 0.3
"""Of the newest time in the mean of the way that is kept."""
WORSE = 1.5
"""How much slower than its mean the kept way is when times have changed."""


@final
class AllOrOne:
    """The choice for pieces of work of one kind and size."""

    def __init__(self) -> None:
        """Begin with all threads, and try one thread soon."""
        self._kept = True
        self._seconds: dict[bool, float] = {}
        self._left, self._trial, self._slow = TRIES, 0, 0

    def all(self) -> bool:
        """Return whether the next piece of work shall use all threads."""
        return self._kept != (self._trial > 0)

    def note(self, seconds: float) -> None:
        """Take in what that piece of work took."""
        if self._trial:
            self._trial -= 1
            if not self._trial:
                self._compare(seconds)
            return
        before = self._seconds.get(self._kept)
        self._seconds[self._kept] = (
            seconds if before is None else before + WEIGHT * (seconds - before)
        )
        self._slow = self._slow + 1 if before is not None and seconds > WORSE * before else 0
        self._left -= 1
        if self._left <= 0 or self._slow == TRIES:
            self._trial, self._slow = TRIES, 0

    def _compare(self, seconds: float) -> None:
        """Keep the faster way, and rest until another trial is paid for."""
        self._seconds[not self._kept] = seconds
        if seconds < self._seconds[self._kept]:
            self._kept = not self._kept
        best, other = self._seconds[self._kept], self._seconds[not self._kept]
        self._left = max(FIRST, math.ceil(TRIES * (other / max(best, 1e-9) - 1) / SHARE))
