"""its-hub's own rules on recorded samples, from the installed package; in the benchmark only.

The package runs as it is: its orchestrator is replaced by one that hands out recorded samples under
a simulated clock on which all samples of a batch run side by side, a token a tick. Samples that it
cancels are charged for the tokens they had by then, which the package itself does not count.
"""

from __future__ import annotations

import asyncio
import random
from heapq import heappop, heappush
from importlib import metadata
from typing import TYPE_CHECKING, Any, final

from rheostat.stages.replayed import Drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.kernel.samples import Ended

PACKAGE = "its_hub"
_TURNS = 24
"""Turns of the event loop in which the package may look at a sample before the next one ends."""


def its_hub_version() -> str | None:
    """Return the version of the package; None where it is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return None


def its_hub_rules() -> dict[str, Callable[[Sequence[Ended], str], Drawn]]:
    """Return its adaptive rules at their defaults, by name; the package must be installed."""
    from its_hub import AdaptiveSelfConsistency, BetaSelfConsistency

    made = {"adaptive": AdaptiveSelfConsistency, "beta": BetaSelfConsistency}

    def rule(kind: Any) -> Callable[[Sequence[Ended], str], Drawn]:
        return lambda ended, _: asyncio.run(_drawn(kind, ended))

    return {f"its-hub {name}": rule(kind) for name, kind in made.items()}


async def _drawn(kind: Any, ended: Sequence[Ended]) -> Drawn:
    recorded = _Recorded(ended)
    clock = asyncio.create_task(recorded.tick())
    before = random.getstate()
    random.seed(0)  # the package breaks ties by the global generator
    try:
        found = await kind(orchestrator=recorded).ainfer(
            None, "question", len(ended), return_response_only=False
        )
    finally:
        random.setstate(before)
        clock.cancel()
    return Drawn(ended[found.the_one["index"]].answer, recorded.launched, recorded.tokens)


@final
class _Recorded:
    """An orchestrator of its-hub over recorded samples, in launch order."""

    def __init__(self, ended: Sequence[Ended]) -> None:
        self._ended = ended
        self._running: list[tuple[int, int, asyncio.Future[None]]] = []
        self._began: dict[int, int] = {}
        self._now = 0

    async def agenerate(self, lm: Any, messages_lst: Sequence[Any], **_: Any) -> list[Any]:
        """Launch a sample for each message and wait for their ends."""
        first = self.launched
        ends = [asyncio.get_running_loop().create_future() for _ in messages_lst]
        for index, end in enumerate(ends, first):
            self._began[index] = self._now
            heappush(self._running, (self._now + self._ended[index].tokens, index, end))
        await asyncio.gather(*ends)
        given = range(first, first + len(ends))
        return [
            {"role": "assistant", "content": self._ended[i].answer or "", "index": i} for i in given
        ]

    async def tick(self) -> None:
        """End one sample after the other, the shortest first."""
        while True:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            if self._running:
                self._now, _, end = heappop(self._running)
                if not end.done():
                    end.set_result(None)

    @property
    def launched(self) -> int:
        """Samples that were begun."""
        return len(self._began)

    @property
    def tokens(self) -> int:
        """Tokens of the samples that ended, and of those that were cut off until then."""
        return sum(
            min(self._ended[i].tokens, self._now - began) for i, began in self._began.items()
        )
