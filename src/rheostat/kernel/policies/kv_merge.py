"""Merging cache entries into others: which joins which, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.kv_cache import Held
from rheostat.kernel.policies.kv_budget import taken

if TYPE_CHECKING:
    from rheostat.kernel.kv_cache import Multiply, Singles
    from rheostat.kernel.seams import Ints

_LEAST = 1e-30
"""Keeps divisions by nothing finite."""


def nearest(
    keys: Singles, centres: Ints, others: Ints, similarity: float, multiply: Multiply
) -> Ints:
    """Return into which centre each of the others goes, -1 where no cosine exceeds `similarity`.

    Args:
        keys: [heads, entries, head_size].
        centres: entries that stay, [heads, kept].
        others: entries that may join them, [heads, n].

    Returns:
        Indices into the centres, [heads, n].
    """
    if not others.shape[1]:
        return np.empty(others.shape, dtype=np.int64)
    unit = keys / np.maximum(np.linalg.norm(keys, axis=2, keepdims=True), _LEAST)
    asked, offered = (np.take_along_axis(unit, i[..., None], axis=1) for i in (others, centres))
    cosines = multiply(asked, offered)
    best: Ints = cosines.argmax(axis=2)
    found = np.take_along_axis(cosines, best[..., None], axis=2)[..., 0]
    return np.where(np.minimum(found, 1.0) > similarity, best, -1)


def merged_entries(  # noqa: PLR0913  # what is merged, and how
    held: Held, scores: Singles, centres: Ints, others: Ints, into: Ints, *, keys: bool
) -> Held:
    """Return the centres with what joined them, weighted by score.

    Args:
        scores: [heads, entries], from 0.
        centres: entries that stay, [heads, kept].
        others: entries that join them, [heads, n].
        into: which centre each one joins, -1 = none, [heads, n].
        keys: whether keys are merged too: their direction, at the centre's length.
    """
    heads, joining = np.nonzero(into >= 0)
    places = (heads, into[heads, joining])
    own, joined = taken(held, centres), taken(held, others)
    weights = np.maximum(np.take_along_axis(scores, centres, axis=1), _LEAST)
    more = np.maximum(np.take_along_axis(scores, others, axis=1)[heads, joining], _LEAST)
    total, counts = weights.copy(), own.counts.copy()
    np.add.at(total, places, more)
    np.add.at(counts, places, joined.counts[heads, joining])

    def mean(centre: Singles, other: Singles) -> Singles:
        summed = centre * weights[..., None]
        np.add.at(summed, places, other[heads, joining] * more[:, None])
        averaged = summed / total[..., None]
        untouched = counts == own.counts  # bit for bit what they were
        made: Singles = np.where(untouched[..., None], centre, averaged).astype(np.float32)
        return made

    values = mean(own.values, joined.values)
    if not keys:
        return Held(own.keys, values, counts)
    length = np.linalg.norm(own.keys, axis=2, keepdims=True)
    unit = mean(_unit(own.keys), _unit(joined.keys))
    turned = np.where((counts == own.counts)[..., None], own.keys, _unit(unit) * length)
    return Held(turned, values, counts)


def _unit(vectors: Singles) -> Singles:
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    directions: Singles = vectors / np.maximum(lengths, _LEAST)
    return directions
