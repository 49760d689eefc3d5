"""Outcomes of samples put back into the order of their launch: the one place where it is done.

Short answers end first, so that what has ended is no fair draw of what was launched; the prefix
up to the first sample that is still running is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Prefix(Generic[T]):
    """What is known of samples 0, 1, 2, … without a gap, and what waits behind a gap."""

    ready: tuple[T, ...] = ()
    """Outcomes in launch order, up to the first that is missing."""
    waiting: Mapping[int, T] = field(default_factory=dict)
    """Outcomes behind the gap, by index."""

    def plus(self, index: int, outcome: T) -> Prefix[T]:
        """Take in an outcome; one of an index that is known already changes nothing."""
        if index < len(self.ready) or index in self.waiting:
            return self
        ready, waiting = list(self.ready), {**self.waiting, index: outcome}
        while len(ready) in waiting:
            ready.append(waiting.pop(len(ready)))
        return Prefix(ready=tuple(ready), waiting=waiting)
