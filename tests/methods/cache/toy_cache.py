"""What one attention holds, drawn at random, and a walk over the borders of a row."""

from __future__ import annotations

import numpy as np

from rheostat.kernel.kv_cache import Border, Held
from rheostat.kernel.model_cost import ModelShape

HEADS, SIZE = 3, 8
SHAPE = ModelShape(
    layers=2, width=16, heads=6, kv_heads=HEADS, head_size=SIZE, inner=8, vocabulary=9, context=512
)


def multiply(left, right):
    return left @ right.transpose(0, 2, 1)


def drawn(entries, *, seed=0):
    """Entries whose first value is the position of their token."""
    draw = np.random.default_rng(seed)
    keys, values = draw.standard_normal((2, HEADS, entries, SIZE)).astype(np.float32)
    values[..., 0] = np.arange(entries)
    return Held(keys, values, np.ones((HEADS, entries), np.float32))


def attention(entries, *, seed=0, n=None):
    """Causal attention weights of the newest n tokens, [heads, n, entries]."""
    n = n or entries
    scores = np.random.default_rng(seed).standard_normal((HEADS, n, entries)) * 2
    future = np.arange(entries)[None] > np.arange(entries - n, entries)[:, None]
    weights = np.exp(np.where(future, -np.inf, scores))
    return (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)


def compacted(eviction, held, *, weights=None, slot=0):
    """Entries after one border behind a text that was held whole."""
    tokens = held.counts.shape[1]
    state = None if weights is None else eviction.observe(weights, None)
    return eviction.compact(held, Border(tokens, slot, state, multiply))


def places(held):
    """Positions of the tokens whose values the entries hold, a list a head."""
    return held.values[..., 0].astype(int).tolist()


def attended(query, held):
    """Attention of one query [size] over each head's entries, [heads, size]."""
    scores = np.einsum("d,htd->ht", query, held.keys) * SIZE**-0.5 + np.log(held.counts)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("ht,htd->hd", weights, held.values)
