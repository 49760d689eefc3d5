"""Where a row ends before its natural end: the plan's decision of the seam `stop`, row by row."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, final

from rheostat.kernel.stop import Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.stop import StopPolicy
    from rheostat.kernel.trace import Trace


@final
class RowStop:
    """The decision about one row, asked after every new token."""

    def __init__(self, policy: StopPolicy, seed: int, name: str) -> None:
        """Start it; lots depend on the seed and the row's name alone."""
        digest = hashlib.sha256(f"{seed}\n{name}".encode(errors="surrogatepass")).digest()
        self._policy = policy
        self._state = policy.start(int.from_bytes(digest[:8], "big"))

    def ends(self, tokens: Sequence[int], text: str, trace: Trace) -> bool:
        """Return whether the row ends with its newest token; count the time that this took."""
        began = time.perf_counter()
        self._state, stops = self._policy.step(self._state, Written(tokens, text))
        trace.seconds_deciding += time.perf_counter() - began
        return stops


def row_stop(policy: StopPolicy | None, seed: int, name: str) -> RowStop | None:
    """Return the decision about a row of that name; None = its natural end."""
    return None if policy is None else RowStop(policy, seed, name)
