"""One request of the `torch` engine while it runs: its tokens, its text and its counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.engines.base import Output, StopReason
from rheostat.kernel.cost import Cost
from rheostat.kernel.model_cost import Work
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.constrained import ConstrainedRow
    from rheostat.engines.stopping import RowStop
    from rheostat.engines.tokenizer import StreamDecoder
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.transcript import Transcript
    from rheostat.kernel.ledger import Reservation


@final
@dataclass(kw_only=True)
class Row:
    """A row of the running batch."""

    id: str
    prompt: list[int]
    cache: RowCache
    max_new: int
    """New tokens that the request, the context and the budget allow."""
    full: StopReason
    """Which of the three `max_new` comes from."""
    chance: str
    """Names the row's own source of chance, so that it does not depend on its neighbours."""
    decoder: StreamDecoder
    transcript: Transcript
    kept: int = 0
    """Tokens of the prompt that the cache held from before."""
    reservation: Reservation | None = None
    drafting: Any = None
    """State of the draft source."""
    limits: ConstrainedRow | None = None
    """State of the constraint."""
    stop: RowStop | None = None
    """Where it ends before its natural end."""
    new: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Where in the text each written token ends."""
    work: Work = field(default_factory=Work)
    beside: Cost = field(default_factory=Cost)
    """Cost of other models' passes."""
    caches: dict[str, RowCache] = field(default_factory=dict)
    """Caches of other models that draft, by their paths."""
    trace: Trace = field(default_factory=Trace)
    priced: float = 0.0
    """Price of the passes before the one whose tokens are written now."""
    seconds: float = 0.0
    stop_reason: StopReason | None = None

    @cached_property
    def rng(self) -> np.random.Generator:
        """The row's source of chance, made where something is drawn."""
        return np.random.default_rng(list(self.chance.encode(errors="surrogatepass")))

    @property
    def last(self) -> int:
        """The newest token, which the cache does not hold yet."""
        return self.new[-1]

    @property
    def room(self) -> int:
        """How many draft tokens a step may carry beside the newest token."""
        left, to_border = self.max_new - len(self.new), self.cache.room_to_border
        return min(left, left if to_border is None else to_border) - 1

    def take(self, tokens: Sequence[int], eos: frozenset[int]) -> None:
        """Write tokens one by one until one of them ends the row."""
        for token in tokens:
            if token in eos:
                self.stop_reason = "eos"
                break
            piece = self.decoder.push(token)
            self.new.append(token)
            self.ends.append(len(self.transcript.text) + len(piece))
            if self.transcript.add(piece):
                self.stop_reason = "stop"
                return
            if len(self.new) >= self.max_new:
                self.stop_reason = self.full
                break
            if self.stop and self.stop.ends(self.new, self.transcript.text, self.trace):
                self.stop_reason = "stop"
                break
        if self.stop_reason is not None and self.transcript.add(self.decoder.finish()):
            self.stop_reason = "stop"

    def output(self, cost: Cost) -> Output:
        """Return what came of the row; tokens that reach beyond a stop string are left out."""
        text = self.transcript.finish()
        ended = zip(self.new, self._whole_ends(), strict=True)
        return Output(
            id=self.id,
            text=text,
            token_ids=tuple(token for token, end in ended if end <= len(text)),
            stop_reason=self.stop_reason or "cancelled",
            cost=cost,
            trace=self.trace,
        )

    def _whole_ends(self) -> list[int]:
        """Let tokens that only begin a character end where the token that completes it ends."""
        ends = [0, *self.ends]
        for i in range(len(ends) - 2, 0, -1):
            if ends[i] == ends[i - 1]:
                ends[i] = ends[i + 1]
        return ends[1:]
