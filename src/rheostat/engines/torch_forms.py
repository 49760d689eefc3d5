"""Choose the weight forms of this machine by timing them on the model's own matrices.

The narrow form is the fastest for one row, the wide form the fastest for sixteen; the border is
put where the wide form begins to win. The whole stack of matrices is multiplied in turn, so that
no matrix sits in a cache when its turn comes, as in decoding.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from rheostat.engines.torch_head import Head, quick_fits
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


def quick_head_rows(weight: torch.Tensor, dtype: torch.dtype, forms: Forms) -> int:
    """Return up to how many rows choices through an eight-bit head are the faster ones; 0 = never.

    Args:
        weight: the head, float32 [vocabulary, width].
        forms: the forms chosen for the other matrices.
    """
    if not quick_fits(weight):
        return 0
    whole, quick = (Head(weight, dtype, replace(forms, quick_rows=n)) for n in (0, WIDE_ROWS))
    best = 0
    for rows in (*NARROW_ROWS, WIDE_ROWS):
        ordinary = weight[len(weight) // 2 :][:rows]  # behind the control tokens
        x = (_SIZE * F.normalize(ordinary, dim=1)).to(dtype)
        if _best(partial(quick.choices, x)) >= _best(partial(whole.choices, x)):
            break
        best = rows
    return best


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
