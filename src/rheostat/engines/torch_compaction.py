"""Cache decisions carried out: what is asked at a row's borders, and what it costs.

Between two passes a row is settled: the attention of its newest tokens is computed once more where
the decision wants it, and at a border the entries that stay are asked for. Nothing here depends on
how the tokens came to be written, so drafts change nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np
import torch

from rheostat.engines.torch_cache import Borders
from rheostat.engines.torch_coded import nothing_coded
from rheostat.engines.torch_model import Llama
from rheostat.engines.torch_prices import empty_cache
from rheostat.engines.torch_queries import Queries
from rheostat.engines.torch_rebuild import Rebuilder, rebuilding
from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import Border, Held
from rheostat.kernel.model_cost import Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rheostat.engines.decoder import Decoder
    from rheostat.engines.torch_cache import RowCache
    from rheostat.kernel.kv_cache import Checkpoints, Coder, Eviction, Kept, Singles
    from rheostat.kernel.model_cost import ModelShape, PriceTable
    from rheostat.kernel.seams import Layout
    from rheostat.kernel.trace import Trace


@final
class Compaction:
    """The cache decision of one run; without one, caches are the base's."""

    def __init__(
        self,
        llama: Decoder,
        prices: PriceTable,
        eviction: Eviction | None,
        coder: Coder | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """Put the parts together."""
        self._llama = llama
        self._eviction = eviction
        self._coder = coder
        self._checkpoints = checkpoints
        decider = eviction or coder or checkpoints
        self._every = None if decider is None else decider.every
        self._rate = seconds_a_product(prices, llama.shape)
        self._scale = llama.score_scale

    def cache(self, layout: Layout, *, prompt: int, capacity: int) -> RowCache:
        """Return a row's empty cache.

        Args:
            layout: the attentions that need a slot.
            prompt: tokens before the first border.
            capacity: tokens that fit before the cache grows, without a decision.
        """
        eviction, llama = self._eviction, self._llama
        if self._every is None:
            return empty_cache(llama, layout, capacity=capacity)
        cache = empty_cache(llama, layout, capacity=prompt)
        cache.borders = Borders(prompt, self._every)
        if self._checkpoints is not None:
            self._keep_residuals(cache, layout, prompt)
        if eviction is not None and eviction.newest != 0:
            slots = sum(layout.attention)
            cache.queries = Queries(llama.shape, slots, room=eviction.every, dtype=llama.dtype)
        return cache

    def go_on(self, cache: RowCache, *, prompt: int) -> None:
        """Let a row that was read up to a border or behind it go on with a longer prompt."""
        if self._every is not None:
            cache.borders = Borders(prompt, self._every)

    def _keep_residuals(self, cache: RowCache, layout: Layout, prompt: int) -> None:
        llama = self._llama
        layers = tuple(layer for layer, kept in enumerate(layout.attention) if kept)
        stream = replace(llama.shape, heads=1, kv_heads=1, head_size=llama.shape.width)
        cache.residuals = Queries(stream, len(layers), room=prompt, dtype=llama.dtype)
        assert isinstance(llama, Llama)  # no other offers its residuals
        cache.rebuild = Rebuilder(llama, layers, self._rate)

    def parts(
        self, prompt: int, tokens: int, chunk: int, *, start: int = 0
    ) -> list[tuple[int, int]]:
        """Return the passes in which a text is read, as pairs of first token and end.

        Args:
            prompt: tokens before the first border.
            tokens: tokens of the whole text.
            chunk: most tokens of a pass.
            start: tokens that are held already.
        """
        if self._every is None:
            return [(at, min(at + chunk, tokens)) for at in range(start, tokens, chunk)]
        # the last pass over the prompt is a full one, so that the newest tokens are in it
        first = min(prompt, tokens)
        ends = [*range(first, start, -chunk)][::-1]
        for border in (*range(prompt + self._every, tokens, self._every), tokens):
            last = ends[-1] if ends else start
            ends += [*range(last + chunk, border, chunk), border] if border > last else []
        return list(zip([start, *ends], ends, strict=False))

    @torch.inference_mode()
    def settle(
        self, caches: Iterable[RowCache], works: Iterable[Work], traces: Iterable[Trace]
    ) -> None:
        """Bring caches up to date between two passes, and count what that takes."""
        eviction = self._eviction
        if self._every is None:
            return
        for cache, work, trace in zip(caches, works, traces, strict=True):
            start = time.perf_counter()
            borders = cache.borders
            due = borders is not None and borders.at(cache.length) and cache.settled < cache.length
            if due and self._coder is not None:
                _code(cache, self._coder)
            if due and self._checkpoints is not None:
                _let_go(cache, self._checkpoints)
            reading = cache.length < (borders.first if borders else 0)
            if eviction and (due or reading):
                _Settling(cache, eviction, work, self._rate, self._scale).run(due=due)
            if due or (eviction and reading):
                trace.seconds_deciding += time.perf_counter() - start

    def most_seconds(
        self, prompt: int, new: int, passes: int, *, slots: int, drafts: bool
    ) -> float:
        """Bound the price of what is done to a row's cache beside its passes.

        Args:
            prompt, new: tokens of the row.
            passes: those after the prompt, drafting ones included.
            slots: attentions that exist.
            drafts: whether a pass after the prompt may read several tokens.
        """
        shape, tokens = self._llama.shape, prompt + new
        if self._checkpoints is not None:
            # a block each for branches of the same place, and twice the prompt's for its passes
            written = min(new, self._checkpoints.every) if drafts else 1
            each = rebuilding(shape, tokens, slots) + written * rebuilding(shape, 1, slots)
            return (passes * each + 2 * rebuilding(shape, prompt, slots)) * self._rate
        if self._eviction is None:
            return 0.0
        borders = 1 + new // self._eviction.every
        pairs = (shape.heads + borders * shape.kv_heads) * tokens**2
        return slots * pairs * shape.head_size * self._rate


def _code(cache: RowCache, coder: Coder) -> None:
    """Code the tokens before a border, the newest ones left out."""
    slots = range(len(cache.states))
    plain = [cache.plain(slot) for slot in slots]
    old = len(plain[0]) - coder.recent if plain else 0
    if old > 0:
        dtype = plain[0].dtype
        coded = cache.coded or nothing_coded(coder, len(slots), dtype)
        coded = coded.extended([tokens[:old] for tokens in plain])
        cache.replace([tokens[old:] for tokens in plain], None, coder.every, coded=coded)
    cache.settled = cache.length


def _let_go(cache: RowCache, checkpoints: Checkpoints) -> None:
    """Let go of older tokens' keys and values; what the attentions read of them is kept."""
    plain = [cache.plain(slot) for slot in range(len(cache.states))]
    old = len(plain[0]) - checkpoints.kept(cache.length) if plain else 0
    if old > 0:
        rebuilt = cache.rebuilt + old
        cache.replace([t[old:] for t in plain], None, checkpoints.every, rebuilt=rebuilt)
    if cache.residuals:
        cache.residuals.reserve(cache.length + checkpoints.every)
    cache.settled = cache.length


def seconds_a_product(prices: PriceTable, shape: ModelShape) -> float:
    """Price a multiply-add as in an MLP over as many tokens as were measured."""
    return prices.mlp[-1] / (prices.tokens[-1] * shape.mlp_weights)


@final
class _Settling:
    """One row between two passes."""

    def __init__(
        self, cache: RowCache, eviction: Eviction, work: Work, rate: float, scale: float
    ) -> None:
        self._cache = cache
        self._eviction = eviction
        self._scale = scale
        self._work = work
        self._rate = rate

    def run(self, *, due: bool) -> None:
        cache, eviction = self._cache, self._eviction
        watched = self._watched(due=due)
        compacts = due and cache.entries > eviction.entries(cache.length)
        if watched and (compacts or eviction.newest is None):
            cache.states = tuple(
                eviction.observe(self._weights(slot, watched), state)
                for slot, state in enumerate(cache.states)
            )
        if compacts:
            kept = [self._kept(slot, state) for slot, state in enumerate(cache.states)]
            self._put(kept)
        if cache.queries and due:
            cache.queries.restart(cache.length, eviction.every)
        elif cache.queries and eviction.newest is None:
            cache.queries.start = cache.length
        if due:
            cache.settled = cache.length

    def _watched(self, *, due: bool) -> int:
        """Return of how many of the newest tokens the attention is wanted."""
        queries, newest = self._cache.queries, self._eviction.newest
        if queries is None:
            return 0
        since = self._cache.length - queries.start
        if newest is None:
            return since
        return min(newest, since) if due else 0

    def _weights(self, slot: int, n: int) -> Singles:
        """Return the attention of the newest n tokens, [kv_heads, n, entries]."""
        cache = self._cache
        assert cache.queries is not None
        queries = cache.queries.newest(slot, n, cache.length).float()
        keys = cache.held(slot, 0)[:, 0].float().permute(1, 2, 0)
        heads, group, _, size = queries.shape
        scores = self._product(queries.reshape(heads, group * n, size), keys) * self._scale
        if (bias := cache.bias(slot, 0)) is not None:
            scores += bias[:, None]
        scores = scores.view(heads, group, n, -1)
        future = torch.full((n, n), float("-inf")).triu_(1)
        scores[..., cache.entries - n :] += future
        weights: Singles = scores.softmax(dim=-1).mean(dim=1).numpy()
        return weights

    def _kept(self, slot: int, state: object) -> Kept:
        cache, eviction = self._cache, self._eviction
        entries = cache.held(slot, 0).float().permute(1, 2, 0, 3).contiguous().numpy()
        bias = cache.bias(slot, 0)
        ones = np.ones(entries.shape[1:3], dtype=np.float32)
        counts = ones if bias is None else bias.exp().round().numpy()
        border = Border(cache.length, slot, state, self._multiply)
        kept = eviction.compact(Held(entries[0], entries[1], counts), border)
        wanted = eviction.entries(cache.length)
        if kept.held.counts.shape[1] != wanted:
            raise MethodError(
                f"a cache decision kept {kept.held.counts.shape[1]} entries and said {wanted}"
            )
        return kept

    def _put(self, kept: Sequence[Kept]) -> None:
        cache = self._cache
        held = [
            torch.from_numpy(np.stack([k.held.keys, k.held.values])).permute(2, 0, 1, 3)
            for k in kept
        ]
        counts = np.stack([k.held.counts for k in kept]) if kept else np.ones(0)
        bias = torch.from_numpy(np.log(counts)) if (counts != 1).any() else None
        assert cache.borders is not None
        cache.replace(held, bias, cache.borders.every)
        cache.states = tuple(k.state for k in kept)

    def _multiply(self, left: Singles, right: Singles) -> Singles:
        made = self._product(torch.from_numpy(left), torch.from_numpy(right).transpose(1, 2))
        products: Singles = made.numpy()
        return products

    def _product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Multiply [heads, n, k] and [heads, k, m], and count it."""
        multiplied = left.shape[1] * right.numel()
        read = right.numel() * right.element_size()
        price = multiplied * self._rate
        self._work.add(Work(others=multiplied, weight_bytes=read, price=price))
        return torch.bmm(left, right)
