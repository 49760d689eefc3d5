"""Generate a batch of requests: read prompts, draft, verify, write, until every row ends."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, final

from rheostat.engines.mapped_pages import trim
from rheostat.engines.stopping import row_stop
from rheostat.engines.torch_budget import Budget
from rheostat.engines.torch_draft import ModelDrafts, laws_of
from rheostat.engines.torch_draft_forward import Draft
from rheostat.engines.torch_draft_prices import drafting_seconds, most_drafting
from rheostat.engines.torch_kept import reading_cost
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import most_seconds, step_seconds
from rheostat.engines.torch_row import Row
from rheostat.engines.torch_tree import keep_accepted, parents_in_feed
from rheostat.engines.transcript import Transcript
from rheostat.errors import MemoryShortError
from rheostat.kernel.policies.token_tree import clipped, first_branch
from rheostat.kernel.policies.verify import Verified, verify_greedy, verify_sampled
from rheostat.kernel.seams import DraftStart, Installed
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from rheostat.engines.base import OnStep, OnToken, Output, Request, Sampling, StopReason
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_shared import SharedPrefix
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Ledger
    from rheostat.kernel.seams import Floats

CHUNK = 256
"""Prompt tokens of one forward pass."""


@final
class Run:
    """One call of `generate`."""

    def __init__(  # noqa: PLR0913  # as of `generate`
        self,
        engine: TorchEngine,
        sampling: Sampling,
        installed: Installed,
        ledger: Ledger | None,
        on_token: OnToken | None,
        on_step: OnStep | None = None,
    ) -> None:
        self.engine = engine
        self.sampling = sampling
        self.installed = installed
        self.depth = engine.depth(installed)
        self.compaction = engine.compaction(installed)
        self.drafter = installed.draft
        self.limits = engine.constrained(sampling, installed.token)
        self.stop = installed.stop
        self.on_token = on_token
        self.on_step = on_step
        self.shared: SharedPrefix | None = None
        """What requests may begin with alike."""
        self.held: dict[str, tuple[list[int], RowCache]] = {}
        """Requests whose prompts are told as token ids, with the cache of what was read before."""
        self.models: ModelDrafts | None = None
        drafting = None
        if installed.models is not None:
            self.models = ModelDrafts(engine, installed, installed.models, sampling, CHUNK)
            drafting = most_drafting(engine, installed, installed.models.forwards, CHUNK)
        self.prices = prices = engine.prices(installed)
        shape, layout = engine.shape, self.depth.layout
        self.budget = Budget(
            ledger=ledger,
            chunk=CHUNK,
            drafts=installed.draft is not None,
            most_seconds=most_seconds(prices, shape, layout),
            drafting=drafting,
            compacting=partial(
                self.compaction.most_seconds,
                slots=sum(layout.attention),
                drafts=installed.draft is not None or installed.models is not None,
            ),
        )

    def outputs(self, requests: Sequence[Request]) -> Iterator[Output]:
        """Yield each output when it is finished; closing the iterator cancels the rest."""
        rows: list[Row] = []
        try:
            for request in requests:
                rows.append(self._admitted(request))
                self._start_drafting(rows[-1], len(requests))
            yield from (self._finished(row) for row in rows if row.stop_reason)
            rows = [row for row in rows if not row.stop_reason]
            self._read_prompts(rows)
            while rows:
                self._stop_overdue(rows)
                yield from (self._finished(row) for row in rows if row.stop_reason)
                rows = [row for row in rows if not row.stop_reason]
                if rows:
                    self._step(rows)
        except MemoryShortError:
            yield from (self._finished(row) for row in rows if row.stop_reason)
            raise
        finally:
            for row in rows:
                if row.reservation is not None and row.reservation.open:
                    row.reservation.charge(self._cost(row))
                    row.reservation.cancel(f"request {row.id} was cancelled")

    def _admitted(self, request: Request) -> Row:
        engine = self.engine
        prompt, cache = self.held.get(request.id, (None, None))
        prompt = engine.encode(request) if prompt is None else prompt
        fits = engine.shape.context - len(prompt)
        wanted = self.sampling.max_new_tokens
        if self.shared is not None and cache is None:
            cache = self._copied(prompt)
        kept = 0 if cache is None else cache.length
        full: StopReason = "length" if wanted <= fits else "context"
        shared = self.shared
        grant = self.budget.grant(
            request.id,
            prompt=len(prompt) - kept,
            kept=kept,
            wanted=min(wanted, fits),
            first=len(shared.ids) if shared and not kept and shared.begins(prompt) else 0,
        )
        if grant.new_tokens < min(wanted, fits):
            full = "budget"
        row = Row(
            id=request.id,
            prompt=prompt,
            cache=cache
            or self.compaction.cache(
                self.depth.layout, prompt=len(prompt), capacity=len(prompt) + grant.new_tokens
            ),
            kept=kept,
            trace=Trace(reused=kept),
            max_new=grant.new_tokens,
            full=full,
            chance=f"{self.sampling.seed}\n{request.id}",
            decoder=engine.tokenizer.stream(),
            transcript=Transcript(self.sampling.stop, self._show(request.id)),
            reservation=grant.reservation,
            limits=None if self.limits is None else self.limits.row(request.id),
            stop=row_stop(self.stop, self.sampling.seed, request.id),
        )
        if grant.new_tokens < 1:
            row.stop_reason = "budget"
        return row

    def _start_drafting(self, row: Row, rows: int) -> None:
        if self.drafter is None or row.stop_reason:
            return
        engine, start = self.engine, time.perf_counter()
        drafting = drafting_seconds(engine, self.installed, rows) if self.models else None
        row.drafting = self.drafter.start(
            DraftStart(
                prompt=row.prompt,
                special=engine.special,
                step_seconds=step_seconds(self.prices, self.depth.layout, rows=rows),
                drafting_seconds=drafting,
            )
        )
        taken = time.perf_counter() - start
        row.trace.seconds_deciding += taken
        row.seconds += taken

    def _show(self, name: str) -> Callable[[str], None] | None:
        on_token = self.on_token
        return None if on_token is None else lambda piece: on_token(name, piece)

    def _copied(self, prompt: Sequence[int]) -> RowCache | None:
        """Return a copy of what a prompt begins with, with room for the rest and the answer."""
        assert self.shared is not None
        most = min(self.sampling.max_new_tokens, self.engine.shape.context - len(prompt))
        room = len(prompt) - len(self.shared.ids) + most
        return self.shared.copy(self.depth.layout, prompt, room=room)

    def _read_shared(self, shared: SharedPrefix, rows: Sequence[Row]) -> None:
        """Read what rows begin with alike through the first of them, and copy it to the others."""
        mine = [row for row in rows if not row.kept and shared.begins(row.prompt)]
        if not mine:
            return
        lead, *others = mine
        for at in range(0, len(shared.ids), CHUNK):
            self._stop_overdue(rows)
            if lead.stop_reason:
                return
            self._read([(lead, at, min(at + CHUNK, len(shared.ids)))])
        shared.keep(self.depth.layout, lead.cache)
        for row in others:
            row.cache = self._copied(row.prompt) or row.cache
            row.kept = row.trace.reused = row.cache.length

    def _read_prompts(self, rows: Sequence[Row]) -> None:
        """Read all prompts, up to `CHUNK` tokens a pass, and take every row's first token.

        What a whole chunk took meanwhile is given back: no later step takes as much.
        """
        if self.shared is not None:
            self._read_shared(self.shared, rows)
        waiting = [
            (row, *part)
            for row in rows
            for n in [len(row.prompt)]
            for part in self.compaction.parts(n, n, CHUNK, start=row.cache.length)
        ]
        read = sum(end - at for _, at, end in waiting)
        while waiting:
            self._stop_overdue(rows)
            waiting = [part for part in waiting if not part[0].stop_reason]
            chosen: list[tuple[Row, int, int]] = []
            size = 0
            for row, at, end in waiting:
                # the parts of one prompt lie behind each other, each needs the one before
                if chosen and (size + end - at > CHUNK or chosen[-1][0] is row):
                    break
                chosen.append((row, at, end))
                size += end - at
            waiting = waiting[len(chosen) :]
            if chosen:
                self._read(chosen)
        if read >= CHUNK:
            trim()

    def _read(self, parts: Sequence[tuple[Row, int, int]]) -> None:
        start = time.perf_counter()
        rows = [row for row, _, _ in parts]
        self._settle(rows)
        feeds = [
            Feed(row.cache, row.prompt[at:end], at - len(row.prompt)) for row, at, end in parts
        ]
        ends = [end == len(row.prompt) for row, _, end in parts]
        wanted = [
            [len(feed.tokens) - 1] if end else [] for feed, end in zip(feeds, ends, strict=True)
        ]
        logits = self._passed(rows, feeds, wanted)
        finishing = [row for row, end in zip(rows, ends, strict=True) if end]
        self._take(finishing, [Draft()] * len(finishing), logits)
        self._charge_time(rows, start)

    def _step(self, rows: Sequence[Row]) -> None:
        start = time.perf_counter()
        self._settle(rows)
        drafts = [Draft(tokens=self._draft(row, row.room)) for row in rows]
        if self.models is not None:
            self.models.draw(rows, drafts)
        pairs = [(row, draft.tokens) for row, draft in zip(rows, drafts, strict=True)]
        feeds = [
            Feed(row.cache, [row.last, *draft], len(row.new) - 1, parents_in_feed(draft))
            for row, draft in pairs
        ]
        if self.models is not None and any(draft.streams for draft in drafts):
            logits = self.models.resumed(rows, feeds, drafts)
        else:
            logits = self._passed(rows, feeds, [range(len(feed.tokens)) for feed in feeds])
        self._take(rows, drafts, logits)
        if self.models is not None:
            self.models.forget(rows)
        self._charge_time(rows, start)

    def _settle(self, rows: Sequence[Row]) -> None:
        caches, works = [row.cache for row in rows], [row.work for row in rows]
        self.compaction.settle(caches, works, [row.trace for row in rows])

    def _draft(self, row: Row, limit: int) -> Sequence[int]:
        if self.drafter is None or limit < 1:
            return ()
        start = time.perf_counter()
        draft = clipped(self.drafter.propose(row.drafting, limit), limit)
        if not self.engine.decoder.branches:
            draft = first_branch(draft)
        row.trace.seconds_deciding += time.perf_counter() - start
        return draft

    def _passed(
        self, rows: Sequence[Row], feeds: Sequence[Feed], wanted: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        return self.engine.passed(
            feeds,
            self.depth,
            wanted,
            [row.work for row in rows],
            [row.trace for row in rows],
            choices=self.sampling.plainly_greedy,
        )

    def _take(self, rows: Sequence[Row], drafts: Sequence[Draft], logits: torch.Tensor) -> None:
        """Verify every row's draft, forget what was rejected, write what was taken.

        `logits` are choices when decoding is plainly greedy.
        """
        greedy = self.sampling.plainly_greedy
        choices = logits.tolist() if greedy else []
        start = 0
        for row, made in zip(rows, drafts, strict=True):
            draft = made.tokens
            end = start + len(draft) + 1
            if greedy:
                verified = verify_greedy(choices[start:end], draft)
            else:
                verified = self._drawn(row, made, logits[start:end].double().numpy())
            start = end
            keep_accepted(row.cache, draft, verified.accepted, verified.path)
            self._written(row, draft, verified.tokens)

    def _drawn(self, row: Row, made: Draft, logits: Floats) -> Verified:
        past, draft = (*row.prompt, *row.new), made.tokens
        if row.limits is not None:
            return row.limits.verified(logits, draft, past, row.rng, row.trace)
        laws = self.sampling.laws(logits, past, draft)
        return verify_sampled(laws, draft, row.rng, laws_of(made))

    def _written(self, row: Row, draft: Sequence[int], tokens: tuple[int, ...]) -> None:
        if self.on_step is not None and row.new:
            self.on_step(row.id, len(tokens), row.work.price - row.priced)
        row.priced = row.work.price
        if row.new:
            row.trace.drafted(len(draft), len(tokens) - 1)
        row.take(tokens, self.engine.eos)
        if self.drafter is not None and not row.stop_reason:
            start = time.perf_counter()
            row.drafting = self.drafter.commit(row.drafting, tokens)
            row.trace.seconds_deciding += time.perf_counter() - start

    def _stop_overdue(self, rows: Sequence[Row]) -> None:
        """Stop all rows when the deadline and its grace have passed."""
        if self.budget.overdue(sum(row.seconds for row in rows)):
            for row in rows:
                row.stop_reason = row.stop_reason or "budget"

    def _charge_time(self, rows: Sequence[Row], start: float) -> None:
        seconds = (time.perf_counter() - start) / len(rows)
        for row in rows:
            row.seconds += seconds

    def _cost(self, row: Row) -> Cost:
        read = min(len(row.prompt), row.cache.length) - row.kept
        counted = self.engine.cost(row.work, prompt_tokens=read, new_tokens=len(row.new))
        return replace(counted + row.beside, seconds=row.seconds)

    def _finished(self, row: Row) -> Output:
        cost = self._cost(row)
        if row.reservation is not None:
            row.reservation.settle(cost)
        row.trace.cache_bytes = row.cache.bytes
        if kept := row.trace.reused:
            row.trace.saved = reading_cost(self.engine, self.installed, kept, CHUNK).price
        return row.output(cost)
