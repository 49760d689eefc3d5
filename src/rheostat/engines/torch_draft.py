"""Drafts that take forward passes: drawn token by token, and verified without reading them twice.

The rows that want a draft of the same forward draw their tokens together, a pass a token. The
verifying pass enters each row's layers where its draft left off: the tokens that the draft has
read join the others at that layer, with the residual stream that was kept.
"""

from __future__ import annotations

import time
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, final

import numpy as np
import torch

from rheostat.engines.torch_draft_forward import Draft, Drawing, OtherModel, OwnPart
from rheostat.engines.torch_draft_prices import prices_of_drafts
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_parts import PartBooks, check_numbers
from rheostat.kernel.policies.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.engines.base import Sampling
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_row import Row
    from rheostat.kernel.model_cost import Work
    from rheostat.kernel.policies.sampling import Floats
    from rheostat.kernel.seams import Forward, Installed, ModelDrafter


@final
class ModelDrafts:
    """The drafts of one call of `generate`."""

    def __init__(
        self,
        engine: TorchEngine,
        installed: Installed,
        drafter: ModelDrafter,
        sampling: Sampling,
        chunk: int,
    ) -> None:
        """Open what drafts; raise `MethodError` when something of it does not fit the model."""
        self._engine = engine
        self._depth = depth = engine.depth(installed)
        prices = prices_of_drafts(engine, installed)
        self._drafter = drafter
        self._sampling = sampling
        self._books = PartBooks(engine.llama, prices)
        self._forwards: Mapping[Forward, OwnPart | OtherModel] = {
            forward: OwnPart(engine, depth, forward, prices)
            if forward.layout is not None
            else OtherModel(engine.drafting_model(forward.model), forward.model, chunk=chunk)
            for forward, _ in drafter.forwards
        }

    def draw(self, rows: Sequence[Row], drafts: Sequence[Draft]) -> None:
        """Draw a draft in place of the proposed one for every row that asks for it."""
        groups: dict[Forward, list[Drawing]] = {}
        for row, draft in zip(rows, drafts, strict=True):
            start = time.perf_counter()
            ask = self._drafter.ask(row.drafting, row.room)
            row.trace.seconds_deciding += time.perf_counter() - start
            if ask is not None:
                draft.tokens = ()
                drawing = Drawing(row=row, ask=ask, draft=draft)
                groups.setdefault(ask.forward, []).append(drawing)
        for forward, drawings in groups.items():
            self._draw(self._forwards[forward], drawings)

    def _draw(self, forward: OwnPart | OtherModel, drawings: Sequence[Drawing]) -> None:
        greedy = self._sampling.plainly_greedy
        while drawings:
            read = forward.read(drawings, choices=greedy)
            going = []
            for drawing, logits, score in zip(drawings, read.logits, read.scores, strict=True):
                drawing.row.trace.draft_passes += 1
                token = self._drawn(drawing, logits)
                drawing.draft.tokens = (*drawing.draft.tokens, token)
                more = drawing.ask.goes_on(score) and len(drawing.draft.tokens) < drawing.row.room
                if more and token not in self._engine.eos:
                    going.append(drawing)
            drawings = going

    def _drawn(self, drawing: Drawing, logits: torch.Tensor) -> int:
        """Return the likeliest token, or one drawn from the draft's own law, which is kept."""
        if self._sampling.plainly_greedy:
            return int(logits)
        row, draft = drawing.row, drawing.draft
        past = (*row.prompt, *row.new, *draft.tokens)
        (law,) = self._sampling.laws(logits.double().numpy()[None], past, ())
        draft.laws.append(law)
        return draw(law, row.rng)

    def resumed(
        self, rows: Sequence[Row], feeds: Sequence[Feed], drafts: Sequence[Draft]
    ) -> torch.Tensor:
        """Run a verifying pass; return logits or choices after every token of every feed."""
        works, greedy = [row.work for row in rows], self._sampling.plainly_greedy
        self._books.begun(works)
        x = self._through(feeds, works, drafts)
        passed = self._engine.llama.headed(x, choices=greedy)
        counts = [len(feed.tokens) for feed in feeds]
        self._books.head(counts, works, passed.head_again, choices=greedy)
        check_numbers(passed.logits)
        for feed in feeds:
            feed.cache.advance(len(feed.tokens))
        return passed.logits

    def _through(
        self, feeds: Sequence[Feed], works: Sequence[Work], drafts: Sequence[Draft]
    ) -> torch.Tensor:
        """Run the layers, each over the tokens that it has not read; return the last stream."""
        llama, layout = self._engine.llama, self._depth.layout
        running = [_unread(feed, draft) for feed, draft in zip(feeds, drafts, strict=True)]
        streams = [llama.embedded(feed.tokens) for feed in running]
        first, layers = 0, len(layout.attention)
        for border in sorted({layers, *(d.layer for d in drafts if d.streams)}):
            part = layout.within(first, border)
            self._books.part(running, works, part)
            x = llama.through(running, torch.cat(streams), part, layout)
            ends = list(accumulate(len(feed.tokens) for feed in running))
            streams = [x[a:b] for a, b in pairwise([0, *ends])]
            for i, draft in enumerate(drafts):
                if draft.streams and draft.layer == border:
                    streams[i] = torch.cat([*draft.streams, streams[i]])
                    running[i] = feeds[i]
            first = border
        return torch.cat(streams)

    def forget(self, rows: Sequence[Row]) -> None:
        """Let the other models' caches forget what was not written."""
        for row in rows:
            written = len(row.prompt) + len(row.new) - 1
            for cache in row.caches.values():
                cache.truncate(min(cache.length, written))


def laws_of(draft: Draft) -> Floats | None:
    """Return what the draft's tokens were drawn from, [k, vocabulary]; None = they were certain."""
    return np.stack(draft.laws) if draft.laws else None


def _unread(feed: Feed, draft: Draft) -> Feed:
    """Return the feed without the tokens whose stream the draft kept."""
    read = len(draft.streams)
    if not read:
        return feed
    return Feed(feed.cache, feed.tokens[read:], feed.generated + read, ahead=read)
