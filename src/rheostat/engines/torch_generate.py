"""Generate a batch of requests: read prompts, draft, verify, write, until every row ends."""

from __future__ import annotations

import time
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np

from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache, step_seconds
from rheostat.engines.torch_row import Row
from rheostat.engines.transcript import Transcript
from rheostat.kernel.cost import Cost
from rheostat.kernel.policies.sampling import distribution
from rheostat.kernel.policies.verify import verify_greedy, verify_sampled
from rheostat.kernel.records import Refusal
from rheostat.kernel.seams import Depth, DraftStart, Installed, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from rheostat.engines.base import OnToken, Output, Request, Sampling, StopReason
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.ledger import Ledger, Reservation

CHUNK = 256
"""Prompt tokens of one forward pass."""


@final
class Run:
    """One call of `generate`."""

    def __init__(
        self,
        engine: TorchEngine,
        sampling: Sampling,
        installed: Installed,
        ledger: Ledger | None,
        on_token: OnToken | None,
    ) -> None:
        self.engine = engine
        self.sampling = sampling
        self.depth = installed.depth or Depth(Layout.full(engine.shape.layers))
        self.drafter = installed.draft
        self.ledger = ledger
        self.on_token = on_token
        self.step_seconds = step_seconds(engine.prices(), engine.shape, self.depth.layout)

    def outputs(self, requests: Sequence[Request]) -> Iterator[Output]:
        """Yield each output when it is finished; closing the iterator cancels the rest."""
        rows = [self._admitted(request) for request in requests]
        try:
            yield from (self._finished(row) for row in rows if row.stop_reason)
            rows = [row for row in rows if not row.stop_reason]
            self._read_prompts(rows)
            while rows:
                yield from (self._finished(row) for row in rows if row.stop_reason)
                rows = [row for row in rows if not row.stop_reason]
                if rows:
                    self._step(rows)
            rows = []
        finally:
            for row in rows:
                if row.reservation is not None and row.reservation.open:
                    row.reservation.charge(self._cost(row))
                    row.reservation.cancel(f"request {row.id} was cancelled")

    def _admitted(self, request: Request) -> Row:
        engine = self.engine
        prompt = engine.encode(request)
        fits = engine.shape.context - len(prompt)
        wanted = self.sampling.max_new_tokens
        full: StopReason = "length" if wanted <= fits else "context"
        granted, reservation = self._reserved(request.id, len(prompt), min(wanted, fits))
        if granted < min(wanted, fits):
            full = "budget"
        row = Row(
            id=request.id,
            prompt=prompt,
            cache=empty_cache(engine.llama, self.depth.layout, capacity=len(prompt) + granted),
            max_new=granted,
            full=full,
            rng=np.random.default_rng([self.sampling.seed, zlib.crc32(request.id.encode())]),
            decoder=engine.tokenizer.stream(),
            transcript=Transcript(self.sampling.stop, self._show(request.id)),
            reservation=reservation,
        )
        if granted < 1:
            row.stop_reason = "budget"
        elif self.drafter is not None:
            row.drafting = self.drafter.start(
                DraftStart(prompt=prompt, special=engine.special, step_seconds=self.step_seconds)
            )
        return row

    def _show(self, name: str) -> Callable[[str], None] | None:
        on_token = self.on_token
        return None if on_token is None else lambda piece: on_token(name, piece)

    def _reserved(self, name: str, prompt: int, wanted: int) -> tuple[int, Reservation | None]:
        """Reserve what the budget still holds of the wanted new tokens."""
        if self.ledger is None:
            return wanted, None
        left = min(self.ledger.remaining("tokens") - prompt, self.ledger.remaining("new_tokens"))
        granted = int(min(wanted, left))
        if granted < 1:
            return 0, None
        bound = Cost(prompt_tokens=prompt, new_tokens=granted, calls=prompt // CHUNK + 1 + granted)
        answer = self.ledger.try_reserve(bound, note=f"request {name}")
        return (0, None) if isinstance(answer, Refusal) else (granted, answer)

    def _read_prompts(self, rows: Sequence[Row]) -> None:
        """Read all prompts, up to `CHUNK` tokens a pass, and take every row's first token."""
        waiting = [(row, at) for row in rows for at in range(0, len(row.prompt), CHUNK)]
        while waiting:
            chosen: dict[str, tuple[Row, int]] = {}
            size = 0
            for row, at in waiting:
                n = min(CHUNK, len(row.prompt) - at)
                if (size and size + n > CHUNK) or row.id in chosen:
                    break
                chosen[row.id] = (row, at)
                size += n
            waiting = waiting[len(chosen) :]
            self._read(list(chosen.values()))

    def _read(self, parts: Sequence[tuple[Row, int]]) -> None:
        start = time.perf_counter()
        feeds = [
            Feed(row.cache, row.prompt[at : at + CHUNK], at - len(row.prompt)) for row, at in parts
        ]
        ends = [at + CHUNK >= len(row.prompt) for row, at in parts]
        wanted = [
            [len(feed.tokens) - 1] if end else [] for feed, end in zip(feeds, ends, strict=True)
        ]
        rows = [row for row, _ in parts]
        logits = self._passed(rows, feeds, wanted)
        finishing = [row for row, end in zip(rows, ends, strict=True) if end]
        self._take(finishing, [()] * len(finishing), logits)
        self._charge_time(rows, start)

    def _step(self, rows: Sequence[Row]) -> None:
        start = time.perf_counter()
        drafts = [self._draft(row, row.room) for row in rows]
        feeds = [
            Feed(row.cache, [row.last, *draft], len(row.new) - 1)
            for row, draft in zip(rows, drafts, strict=True)
        ]
        logits = self._passed(rows, feeds, [range(len(feed.tokens)) for feed in feeds])
        self._take(rows, drafts, logits)
        self._charge_time(rows, start)

    def _draft(self, row: Row, limit: int) -> tuple[int, ...]:
        if self.drafter is None or limit < 1:
            return ()
        start = time.perf_counter()
        draft = tuple(self.drafter.propose(row.drafting, limit))
        row.trace.seconds_deciding += time.perf_counter() - start
        return draft[:limit]

    def _passed(
        self, rows: Sequence[Row], feeds: Sequence[Feed], wanted: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        return self.engine.passed(
            feeds, self.depth, wanted, [row.work for row in rows], [row.trace for row in rows]
        )

    def _take(
        self, rows: Sequence[Row], drafts: Sequence[tuple[int, ...]], logits: torch.Tensor
    ) -> None:
        """Verify every row's draft, forget what was rejected, write what was taken."""
        greedy = self.sampling.temperature == 0
        choices = logits.argmax(dim=-1).tolist() if greedy else []
        start = 0
        for row, draft in zip(rows, drafts, strict=True):
            end = start + len(draft) + 1
            if greedy:
                verified = verify_greedy(choices[start:end], draft)
            else:
                verified = verify_sampled(self._laws(logits[start:end]), draft, row.rng)
            start = end
            row.cache.truncate(row.cache.length - len(draft) + verified.accepted)
            self._written(row, draft, verified.tokens)

    def _laws(self, logits: torch.Tensor) -> NDArray[np.float64]:
        return distribution(
            logits.double().numpy(),
            temperature=self.sampling.temperature,
            top_k=self.sampling.top_k,
            top_p=self.sampling.top_p,
        )

    def _written(self, row: Row, draft: tuple[int, ...], tokens: tuple[int, ...]) -> None:
        if row.new:
            row.trace.drafted(len(draft), len(tokens) - 1)
        row.take(tokens, self.engine.eos)
        if self.drafter is not None and not row.stop_reason:
            start = time.perf_counter()
            row.drafting = self.drafter.commit(row.drafting, tokens)
            row.trace.seconds_deciding += time.perf_counter() - start

    def _charge_time(self, rows: Sequence[Row], start: float) -> None:
        seconds = (time.perf_counter() - start) / len(rows)
        for row in rows:
            row.seconds += seconds

    def _cost(self, row: Row) -> Cost:
        counted = self.engine.cost(row.work, prompt_tokens=len(row.prompt), new_tokens=len(row.new))
        return replace(counted, seconds=row.seconds)

    def _finished(self, row: Row) -> Output:
        cost = self._cost(row) if row.work.calls else Cost()
        if row.reservation is not None:
            row.reservation.settle(cost)
        return row.output(cost)
