"""The keys that attentions of a pass are multiplied with, as the ledger counts them.

A layer with a window reads what any new token can see, not what is held before it.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from rheostat.engines.torch_masks import first_seen
from rheostat.engines.torch_tree import places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.decoder import Decoder
    from rheostat.kernel.seams import Layout


class Seen(NamedTuple):
    """What the attentions of a pass read for one row."""

    scores: int
    """Products of a query and a key, for every query head."""
    keys: int


def seen(  # noqa: PLR0913  # what a pass reads and over what
    decoder: Decoder,
    layout: Layout,
    n: int,
    held: int,
    *,
    parents: Sequence[int] | None = None,
    entries: int = 0,
) -> Seen:
    """Return the sums over the attentions of a layout.

    Args:
        decoder: what runs the pass.
        layout: the sub-layers that run.
        n: new tokens.
        held: entries before the first of them.
        parents: for each new token the one that it hangs on; None = a chain.
        entries: what every attention reads at least, hidden entries included.
    """
    scores = keys = 0
    for window, layers in _layers_by_window(decoder.windows, layout.attention):
        one = seen_once(n, held, parents, window=window, fixed=decoder.fixed)
        scores += layers * max(one.scores, entries)
        keys += layers * max(one.keys, entries)
    return Seen(scores, keys)


def seen_once(
    n: int, held: int, parents: Sequence[int] | None, *, window: int, fixed: bool
) -> Seen:
    """Return what one attention reads.

    Args:
        window: how many positions back it looks; 0 = all.
        fixed: whether every token attends by itself, instead of all of them together.
    """
    if not fixed:
        keys = held + n - first_seen(held, window)
        return Seen(n * keys, keys)
    seen = (held + 1 + place for place in places_of(parents, n))
    total = sum(min(one, window) for one in seen) if window else sum(seen)
    return Seen(total, total)


@lru_cache(maxsize=64)
def _layers_by_window(
    windows: tuple[int, ...], attention: tuple[bool, ...]
) -> tuple[tuple[int, int], ...]:
    """Return each window among the attentions that run, and how many of them have it."""
    kept = (window for window, runs in zip(windows, attention, strict=True) if runs)
    return tuple(Counter(kept).items())
