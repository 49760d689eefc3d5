"""Counts of a pass that is run in parts: some sub-layers over some of its tokens, then the head.

A pass that resumes where its draft left off runs its lower layers over fewer tokens than its upper
ones; each part is counted, and priced, with the tokens that it ran over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from rheostat.engines.torch_fixed_rows import padding
from rheostat.engines.torch_seen import seen
from rheostat.errors import ModelError
from rheostat.kernel.model_cost import Work, interpolated
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from rheostat.engines.torch_model import Feed, Llama
    from rheostat.kernel.model_cost import PriceTable


@final
@dataclass(frozen=True)
class PartBooks:
    """Counts the parts of passes of one model; the counts of every row are added to in place."""

    llama: Llama
    prices: PriceTable

    def begun(self, works: Sequence[Work]) -> None:
        """Count a pass, and what it costs beside its parts."""
        for work in works:
            work.add(Work(calls=1, price=self.prices.fixed / len(works)))

    def part(self, feeds: Sequence[Feed], works: Sequence[Work], layout: Layout) -> None:
        """Count the sub-layers of a part; the caches do not count its tokens yet."""
        attentions, mlps = sum(layout.attention), sum(layout.mlp)
        total = sum(len(feed.tokens) for feed in feeds)
        held = sum(feed.cache.entries + feed.ahead for feed in feeds) // len(feeds)
        price = part_seconds(self.prices, total, held, layout)
        weights = self.llama.weight_bytes(Depth(layout), [total] * mlps, total, 0, choices=True)
        others = self._padding(total, attentions, [total] * mlps, 0)
        for feed, work in zip(feeds, works, strict=True):
            n = len(feed.tokens)
            before = feed.cache.entries + feed.ahead
            read = seen(self.llama, layout, n, before, parents=feed.parents)
            if feed.cache.rebuild:
                work.add(feed.cache.rebuild.work(feed, attentions))
            work.add(
                Work(
                    attention_tokens=attentions * n,
                    mlp_tokens=mlps * n,
                    scores=read.scores,
                    keys_read=read.keys,
                    weight_bytes=weights / len(feeds),
                    others=others / len(feeds),
                    price=price * n / total,
                )
            )

    def head(
        self, rows: Sequence[int], works: Sequence[Work], again: int, *, choices: bool
    ) -> None:
        """Count the output head over so many rows of each feed."""
        total, share = sum(rows), 1 / len(rows)
        none = Layout.full(self.llama.shape.layers).within(0, 0)
        weights = self.llama.weight_bytes(Depth(none), [], total, total, choices=choices)
        twice = again * self.llama.shape.width
        others = twice + self._padding(0, 0, (), total)
        price = interpolated(self.prices.tokens, self.prices.head, total)
        for n, work in zip(rows, works, strict=True):
            work.add(
                Work(
                    head_tokens=n,
                    weight_bytes=(weights + 4 * twice) * share,
                    others=others * share,
                    price=price * n / total,
                )
            )

    def _padding(self, rows: int, attentions: int, widths: Sequence[int], head: int) -> int:
        if not self.llama.pads:
            return 0
        shape = self.llama.shape
        return padding(shape, rows, attentions=attentions, widths=widths, head=head)


def part_seconds(prices: PriceTable, n: int, context: int, layout: Layout) -> float:
    """Price the sub-layers of a part over n tokens after a context."""
    attentions, mlps = sum(layout.attention), sum(layout.mlp)
    whole = prices.seconds(n, context, attention=attentions, mlp=mlps, head_rows=0)
    return whole - prices.fixed


def check_numbers(logits: torch.Tensor) -> None:
    """Raise `ModelError` for a row without a choice, or whose largest logit is no number."""
    # numpy looks on one thread: torch's threads would still be awake when our own compute
    given = logits.cpu().float().numpy()
    numbers = given >= 0 if logits.ndim == 1 else np.isfinite(given.max(axis=-1))
    if not numbers.all():
        raise ModelError(
            "the model's logits are not numbers",
            hint="its weights may be damaged: fetch the model again, or try another `--dtype`",
        )
