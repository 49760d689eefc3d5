"""One new token a row over static buffers: a step that can be captured once and replayed.

All that changes from step to step lies on the device: each row's token, how many tokens it holds,
its keys and values. No value is asked for and no shape depends on one, so attention reads the whole
buffer and a mask hides what no row has written: work that a plain step does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final
from weakref import ref

import torch

from rheostat.engines.torch_project import projected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_graphs import Capture, Step
    from rheostat.engines.torch_model import Llama
    from rheostat.engines.torch_weights import Layer
    from rheostat.kernel.seams import Layout

Wanted = Literal["nothing", "choices", "logits"]
"""What a step gives of every row's token."""


@final
class StaticStep:
    """The step of one set of sub-layers, captured once for every number of rows."""

    def __init__(
        self, llama: Llama, layout: Layout, capture: Capture, *, rows: int, capacity: int
    ) -> None:
        """Make the buffers.

        Args:
            rows: most rows of a step.
            capacity: most tokens of a row, the new one included.
        """
        self.rows, self.capacity = rows, capacity
        self._llama, self._layout, self._capture = llama, layout, capture
        shape, device = llama.shape, llama.device
        size = (rows, sum(layout.attention), capacity, 2, shape.kv_heads, shape.head_size)
        with torch.inference_mode(mode=False):
            # zeros: what is hidden gets no weight, but must be a number
            self._held = torch.zeros(size, dtype=llama.dtype, device=device)
            self._inputs = torch.zeros(2, rows, dtype=torch.long, device=device)
            self._lanes = torch.arange(rows, device=device)
            self._places = torch.arange(capacity, device=device)
            self._turns = [rope.up_to(capacity) for rope in llama.turns]
        self._buffers = list(self._held)
        self._owners: list[ref[RowCache] | None] = [None] * rows
        self._given: dict[tuple[int, Wanted], torch.Tensor] = {}
        self._replays: dict[tuple[int, Wanted], Step] = {}

    def __call__(
        self, caches: Sequence[RowCache], tokens: Sequence[int], wanted: Wanted
    ) -> torch.Tensor:
        """Read a token of every row; return the logits [n, vocabulary], the choices [n] or nothing.

        Keys and values are written behind what the caches count, which does not move.
        """
        n = len(caches)
        self._lend(caches)
        told = torch.tensor([list(tokens), [cache.length for cache in caches]])
        self._inputs[:, :n].copy_(told)
        key = n, wanted
        if key not in self._replays:
            self._replays[key] = self._capture(lambda: self._step(n, wanted))
        self._replays[key]()
        return self._given[key].clone()

    def _lend(self, caches: Sequence[RowCache]) -> None:
        """Let row i lie in buffer i; a row that lay there and is not read moves out."""
        for i, (cache, buffer) in enumerate(zip(caches, self._buffers, strict=False)):
            if cache.lies_in(buffer):
                continue
            known = self._owners[i]
            owner = known() if known is not None else None
            if owner is not None and owner.lies_in(buffer):
                owner.move_out()
            cache.move_into(buffer)
            self._owners[i] = ref(cache)

    def _step(self, n: int, wanted: Wanted) -> None:
        """Run the layers over the first n rows: all that is captured."""
        llama, layout = self._llama, self._layout
        tokens, held = self._inputs[:, :n]
        kinds = llama.architecture.kinds
        masks = {window: self._mask(held, window) for _, window in kinds}
        turns = [rope[held] for rope in self._turns]
        x = llama.embedded(tokens)
        slot = 0
        for index, layer in enumerate(llama.layers):
            if layout.attention[index]:
                rope, window = kinds[index]
                x = x + self._attention(layer, x, turns[rope], masks[window], slot)
                slot += 1
            if layout.mlp[index]:
                x = x + llama.gated(layer, x)
        rows = x if wanted != "nothing" else x[:0]
        self._given[n, wanted] = llama.headed(rows, choices=wanted != "logits").logits

    def _mask(self, held: torch.Tensor, window: int) -> torch.Tensor:
        """Return the additive mask [n, 1, 1, capacity] of tokens at the places `held`."""
        hidden = self._places > held[:, None]
        if window:
            hidden = hidden | (self._places <= held[:, None] - window)
        mask = torch.zeros(hidden.shape, dtype=self._llama.dtype, device=self._llama.device)
        return mask.masked_fill(hidden, float("-inf"))[:, None, None]

    def _attention(
        self, layer: Layer, x: torch.Tensor, turns: torch.Tensor, mask: torch.Tensor, slot: int
    ) -> torch.Tensor:
        llama, n = self._llama, len(x)
        shape, architecture = llama.shape, llama.architecture
        normed = llama.normed(x, layer.attention_norm)
        qkv = projected(layer, normed, turns, shape=shape, eps=architecture.eps)
        heads, size = shape.kv_heads, shape.head_size
        asked = qkv[:, : shape.heads * size].view(n, heads, -1, size)
        kv = qkv[:, shape.heads * size :].view(n, 2, heads, size)
        own = self._held[:n, slot]
        own.index_put_((self._lanes[:n], self._inputs[1, :n]), kv)
        keys, values = own.permute(2, 0, 3, 1, 4)
        got = llama.attend(asked, keys, values, attn_mask=mask, scale=architecture.score_scale)
        out = layer.out(got.reshape(n, -1))
        after = layer.attention_post_norm
        return out if after is None else llama.normed(out, after)
