"""A lean loop whose base step, one new token a row, is captured once and replayed.

Prompts, drafts and rows that share a beginning take the plain pass; both read and write the same
keys and values, so they may take turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import numpy as np
import torch

from rheostat.engines.decoder import all_rows
from rheostat.engines.torch_model import Feed, Llama, Passed
from rheostat.engines.torch_static_step import StaticStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_graphs import Capture
    from rheostat.engines.torch_model import Observer, Resume
    from rheostat.engines.torch_static_step import Wanted
    from rheostat.engines.torch_ways import Way
    from rheostat.kernel.seams import Depth, Layout

BLOCK = 256
"""A row's buffer holds a multiple of so many tokens."""


@final
class Graphed:
    """A decoder as `decoder.Decoder` asks for it."""

    packs = True
    branches = True
    joins = staticmethod(all_rows)
    reads_parts = False
    fixed = False
    pads = False

    def __init__(self, llama: Llama, capture: Capture) -> None:
        """Take the model; nothing is captured before the first step."""
        assert not llama.fixed  # there tokens attend one by one
        llama.short_norms = False
        self.llama = llama
        self.shape, self.dtype, self.device = llama.shape, llama.dtype, llama.device
        self.offers, self.score_scale = llama.offers, llama.score_scale
        self.windows = llama.windows
        self.weight_bytes = llama.weight_bytes
        self._capture = capture
        self._steps: dict[Layout, StaticStep] = {}

    @torch.inference_mode()
    def forward(  # noqa: PLR0913  # as of the plain pass
        self,
        feeds: Sequence[Feed],
        depth: Depth,
        *,
        logit_rows: Sequence[int] | None,
        choices: bool = False,
        observer: Observer | None = None,
        resume: Resume | None = None,
    ) -> Passed:
        """Read the feeds' tokens; arguments and result as of `torch_model.Llama.forward`."""
        rows = range(len(feeds)) if logit_rows is None else list(logit_rows)
        plain = depth.policy or observer or resume or not all(map(_is_step, feeds))
        if plain or (len(rows) and list(rows) != list(range(len(feeds)))):
            return self.llama.forward(
                feeds,
                depth,
                logit_rows=logit_rows,
                choices=choices,
                observer=observer,
                resume=resume,
            )
        wanted: Wanted = ("choices" if choices else "logits") if len(rows) else "nothing"
        for feed in feeds:
            feed.cache.make_room(1)
        step, n = self._step(feeds, depth.layout), len(feeds)
        caches = [feed.cache for feed in feeds]
        given = step(caches, [feed.tokens[0] for feed in feeds], wanted)
        for cache in caches:
            cache.advance(1)
        mlps = sum(depth.layout.mlp)
        runs = np.full(n, mlps, dtype=np.int64)
        if not (choices or len(rows)):
            given = torch.empty(0, self.shape.vocabulary, dtype=self.dtype, device=self.device)
        return Passed(given, runs, (n,) * mlps, entries=step.capacity)

    def way(self, *, decided: bool, compacted: bool) -> Way:
        """Either leaves the captured step."""
        return "decided" if decided else "compacted" if compacted else "plain"

    def _step(self, feeds: Sequence[Feed], layout: Layout) -> StaticStep:
        """Return a step whose buffers hold the rows; what outgrows them is captured again."""
        found = self._steps.get(layout)
        rows, tokens = len(feeds), max(feed.cache.capacity for feed in feeds)
        if found is None or rows > found.rows or tokens > found.capacity:
            rows = max(rows, found.rows if found else 0)
            tokens = max(-(-tokens // BLOCK) * BLOCK, found.capacity if found else 0)
            found = StaticStep(self.llama, layout, self._capture, rows=rows, capacity=tokens)
            self._steps[layout] = found
        return found


def _is_step(feed: Feed) -> bool:
    """Return whether a feed is one token behind a row's own tokens, all of them held."""
    one = len(feed.tokens) == 1 and not feed.ahead
    return one and feed.cache.whole() is not None
