"""At which widths of a step does a row get the same numbers, bit by bit, whatever is beside it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rheostat.engines.torch_model import Feed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.decoder import Decoder
    from rheostat.engines.torch_cache import RowCache
    from rheostat.kernel.seams import Depth

UNIT = 8
"""Steps are filled up to a multiple of so many rows where that makes the numbers the same."""


def unit_of(decoder: Decoder, depth: Depth, idle: Sequence[RowCache]) -> int:
    """Return the number whose multiples are such widths, found by trying on this machine (ours).

    It is `UNIT` where those up to `len(idle)` all give the same, else the widest step alone.

    Args:
        idle: empty caches, one a row of the widest step; they are empty again afterwards.
    """
    rows = len(idle)
    widest = _tried(decoder, depth, idle)
    same = all(
        torch.equal(_tried(decoder, depth, idle[:width]), widest[:width])
        for width in range(UNIT, rows, UNIT)
    )
    turned = _tried(decoder, depth, idle, turn=1).roll(1, 0)
    return UNIT if rows % UNIT == 0 and same and torch.equal(turned, widest) else rows


def _tried(
    decoder: Decoder, depth: Depth, idle: Sequence[RowCache], *, turn: int = 0
) -> torch.Tensor:
    """Return the logits of a step over these rows, in another order if turned."""
    vocabulary = decoder.shape.vocabulary
    feeds = [Feed(cache, [97 * i % vocabulary], 0) for i, cache in enumerate(idle)]
    passed = decoder.forward(feeds[turn:] + feeds[:turn], depth, logit_rows=None)
    for cache in idle:
        cache.truncate(0)
    return passed.logits
