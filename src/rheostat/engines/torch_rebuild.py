"""Keys and values computed again from the residual stream that a layer's attention read.

Always over blocks of the same number of tokens, padded where there are fewer, in which a token's
row is its place modulo that number: the same bits every time, whatever is rebuilt with it. New
tokens are written by the same blocks, so what is rebuilt later is what was held, bit by bit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
import torch.nn.functional as F

from rheostat.engines.torch_project import projected
from rheostat.kernel.model_cost import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_model import Feed, Llama
    from rheostat.kernel.model_cost import ModelShape

BLOCK = 32
"""Tokens of a block."""


@final
@dataclass(frozen=True)
class Rebuilder:
    """Rebuilds what the slots of a cache would hold."""

    llama: Llama
    layers: tuple[int, ...]
    """The layer of each slot."""
    rate: float
    """Predicted seconds of a multiply-add."""

    @property
    def rewrites(self) -> bool:
        """Whether a pass writes other bits than these blocks; a fixed arithmetic does not."""
        return not self.llama.fixed

    def __call__(self, slot: int, stream: torch.Tensor) -> torch.Tensor:
        """Return keys and values of a row's first n tokens, [n, 2, kv_heads, head_size].

        Args:
            slot: the attention's place in the cache.
            stream: what entered that layer, [n, width].
        """
        n = len(stream)
        whole = F.pad(stream, (0, 0, 0, -n % BLOCK))
        return self._blocks(slot, whole, [*range(n), *[0] * (len(whole) - n)])[:n]

    def written(self, slot: int, stream: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        """Return keys and values of new tokens, the bits that rebuilding them will give.

        Args:
            slot, stream: as of a call; n new tokens.
            places: of the tokens in their text; those of branches may be equal.
        """
        rows, blocks = _rows(places)
        whole = stream.new_zeros(blocks * BLOCK, stream.shape[1])
        whole[rows] = stream
        placed = [0] * len(whole)
        for row, place in zip(rows, places, strict=True):
            placed[row] = place
        return self._blocks(slot, whole, placed)[rows]

    def _blocks(self, slot: int, whole: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        """Return what whole blocks give; rows that are padding stand at place 0."""
        parts = [
            self._block(self.layers[slot], whole[at : at + BLOCK], places[at : at + BLOCK])
            for at in range(0, len(whole), BLOCK)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.inference_mode()
    def _block(self, layer: int, x: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        llama = self.llama
        shape, held, architecture = llama.shape, llama.layers[layer], llama.architecture
        turns = llama.turns[architecture.rope_of[layer]].up_to(max(places) + 1)[list(places)]
        normed = llama.normed(x, held.attention_norm)
        qkv = projected(held, normed, turns, shape=shape, eps=architecture.eps)
        kv = qkv[:, shape.heads * shape.head_size :]
        return kv.view(-1, 2, shape.kv_heads, shape.head_size)

    def work(self, feed: Feed, attentions: int) -> Work:
        """Count what it takes to rebuild what a feed's row let go, and to write its new tokens."""
        multiplied = rebuilding(self.llama.shape, feed.cache.rebuilt, attentions)
        if self.rewrites:
            _, blocks = _rows(feed.places(0))
            multiplied += rebuilding(self.llama.shape, blocks * BLOCK, attentions)
        weights = multiplied // BLOCK
        return Work(
            others=multiplied,
            weight_bytes=weights * self.llama.layers[0].qkv.weight_bytes(BLOCK),
            price=multiplied * self.rate,
        )


def _rows(places: Sequence[int]) -> tuple[list[int], int]:
    """Return each token's row among whole blocks, and how many blocks there are."""
    taken: Counter[int] = Counter()
    rows = []
    for place in places:
        row = place % BLOCK
        rows.append(taken[row] * BLOCK + row)
        taken[row] += 1
    return rows, max(taken.values(), default=0)


def rebuilding(shape: ModelShape, tokens: int, attentions: int) -> int:
    """Return the multiply-adds that it takes to rebuild so many tokens for so many attentions."""
    return -(-tokens // BLOCK) * BLOCK * attentions * shape.qkv_weights
