"""Keys and values computed again from the residual stream that a layer's attention read.

Always over blocks of the same number of tokens, padded where there are fewer, so that what is
rebuilt is the same bits every time, whatever is rebuilt with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
import torch.nn.functional as F

from rheostat.engines.torch_project import projected
from rheostat.kernel.model_cost import Work

if TYPE_CHECKING:
    from rheostat.engines.torch_model import Llama
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

    def __call__(self, slot: int, stream: torch.Tensor) -> torch.Tensor:
        """Return keys and values of a row's first n tokens, [n, 2, kv_heads, head_size].

        Args:
            slot: the attention's place in the cache.
            stream: what entered that layer, [n, width].
        """
        n, last = len(stream), self.llama.shape.context - 1
        whole = F.pad(stream, (0, 0, 0, -n % BLOCK))
        parts = []
        for at in range(0, n, BLOCK):
            places = [min(at + i, last) for i in range(BLOCK)]
            parts.append(self._block(self.layers[slot], whole[at : at + BLOCK], places))
        return torch.cat(parts)[:n]

    @torch.inference_mode()
    def _block(self, layer: int, x: torch.Tensor, places: list[int]) -> torch.Tensor:
        llama = self.llama
        shape, held, architecture = llama.shape, llama.layers[layer], llama.architecture
        turns = llama.turns[architecture.rope_of[layer]][places]
        normed = llama.normed(x, held.attention_norm)
        qkv = projected(held, normed, turns, shape=shape, eps=architecture.eps)
        kv = qkv[:, shape.heads * shape.head_size :]
        return kv.view(-1, 2, shape.kv_heads, shape.head_size)

    def work(self, tokens: int, attentions: int) -> Work:
        """Count what it takes to rebuild so many tokens for so many attentions."""
        multiplied = rebuilding(self.llama.shape, tokens, attentions)
        weights = multiplied // BLOCK
        return Work(
            others=multiplied,
            weight_bytes=weights * self.llama.layers[0].qkv.weight_bytes(BLOCK),
            price=multiplied * self.rate,
        )


def rebuilding(shape: ModelShape, tokens: int, attentions: int) -> int:
    """Return the multiply-adds that it takes to rebuild so many tokens for so many attentions."""
    return -(-tokens // BLOCK) * BLOCK * attentions * shape.qkv_weights
