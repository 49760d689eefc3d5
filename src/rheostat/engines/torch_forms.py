"""Choose the weight forms of this machine by timing them on the model's own matrices.

The narrow form is the fastest for one row, the wide form the fastest for sixteen; the border is
put where the wide form begins to win. The whole stack of matrices is multiplied in turn, so that
no matrix sits in a cache when its turn comes, as in decoding.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from rheostat.engines.torch_head import Head
from rheostat.engines.torch_matrix import FormName, Forms, candidates, laid_out, multiplied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NARROW_ROWS = (1, 2, 4, 8)
WIDE_ROWS = 16
REPEATS = 2
_SIZE = 50.0
"""Length of the vectors that enter the head while it is timed: as those of a language model, they
point to a token, so that few logits are near the largest one."""


def choose(weights: Sequence[torch.Tensor]) -> Forms:
    """Time the candidates on these weights and return the choice.

    Args:
        weights: matrices [out, in] of one number format, enough of them to exceed the caches.
    """
    dtype = weights[0].dtype
    names = candidates(dtype)
    times: dict[tuple[FormName, int], float] = {}
    for name in names:
        held = [laid_out(w, name) for w in weights]
        for rows in (*NARROW_ROWS, WIDE_ROWS):
            times[name, rows] = _seconds(held, name, rows, weights)
        del held
    narrow = min(names, key=lambda name: times[name, 1])
    wide = min(names, key=lambda name: times[name, WIDE_ROWS])
    border = max((r for r in NARROW_ROWS if times[narrow, r] <= times[wide, r]), default=1)
    return Forms(narrow, wide, border)


def quick_head_wins(weight: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return whether choices through an eight-bit head are the faster ones, over 1 to 8 rows."""
    heads = [Head(weight, dtype, Forms(quick_head=quick)) for quick in (False, True)]
    totals = []
    for head in heads:
        total = 0.0
        for rows in NARROW_ROWS:
            x = (_SIZE * F.normalize(weight[:rows], dim=1)).to(dtype)
            total += _best(partial(head.choices, x))
        totals.append(total)
    return totals[1] < totals[0]


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _seconds(
    held: Sequence[torch.Tensor], name: FormName, rows: int, weights: Sequence[torch.Tensor]
) -> float:
    dtype = weights[0].dtype
    inputs = {w.shape[1]: torch.zeros(rows, w.shape[1], dtype=dtype) for w in weights}
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        for weight, laid in zip(weights, held, strict=True):
            multiplied(inputs[weight.shape[1]], laid, name)
        best = min(best, time.perf_counter() - start)
    return best
