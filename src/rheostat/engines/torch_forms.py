"""Choose the weight forms of this machine by timing them on the model's own matrices.

A second form takes as much memory as the first, so one is held for all widths unless that is
clearly slower at some of them. Where it is, the narrow form is the fastest for one row, the wide
form the fastest for many; the border is put where the wide form begins to win. The whole stack of
matrices is multiplied in turn, so that no matrix sits in a cache when its turn comes, as in
decoding.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from rheostat.engines.torch_head import Head
from rheostat.engines.torch_level_ops import level_ops, shape_of
from rheostat.engines.torch_levels import LevelMatrix
from rheostat.engines.torch_matrix import (
    MOST_ROWS,
    FormName,
    Forms,
    candidates,
    laid_out,
    multiplied,
)
from rheostat.engines.torch_quick_head import eight_bits_fit
from rheostat.engines.torch_scan_head import scan_fits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


NARROW_ROWS = (1, 2, 4, 8)
WIDE_ROWS = (16, 64)
ALONE = 1.2
"""One form is held alone where it takes at most this times the fastest's seconds at every width:
more than such timings are off on a busy machine, and little for half the memory (ours)."""
LEVEL_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48)
HEAD_ROWS = (1, 2, 4, 8, 16, 32)
COPY = 1.5
"""Four-bit matrices are held in bfloat16 as well, which is three times as much again, where that
is more than this times as fast over many rows (ours)."""
REPEATS = 3
ROUNDS = 3
"""Times at most that all forms are timed: a disturbance is no reason to hold two."""
HEAD_REPEATS = 5
REST = 0.02
"""Seconds of rest before something is timed: torch's threads stay awake for some milliseconds after
their work, and on the same cores our own loops would be taken for several times as slow."""
_SIZE = 50.0
"""Length of the vectors that enter the head while it is timed: as those of a language model, they
point to a token, so that few logits are near the largest one."""


def choose(weights: Sequence[torch.Tensor], names: Sequence[FormName] | None = None) -> Forms:
    """Time the candidates on these weights and return the choice.

    Args:
        weights: matrices [out, in] of one number format, enough of them to exceed the caches.
        names: the candidates; None = all of that format on this processor.
    """
    names = names or candidates(weights[0].dtype)
    times: dict[tuple[FormName, int], float] = {}
    for _ in range(ROUNDS):
        for name in names:
            held = [partial(_product, laid_out(w, name), name) for w in weights]
            for rows in (*NARROW_ROWS, *WIDE_ROWS):
                seconds = _seconds(held, weights, rows)
                times[name, rows] = min(times.get((name, rows), math.inf), seconds)
            del held
        forms = chosen(times)
        if forms.narrow == forms.wide:
            break
    return forms


def chosen(times: Mapping[tuple[FormName, int], float]) -> Forms:
    """Return the forms to hold, by the seconds of each form over `NARROW_ROWS` and `WIDE_ROWS`."""
    names = list(dict.fromkeys(name for name, _ in times))
    best = {rows: min(times[name, rows] for name in names) for _, rows in times}

    def slower(name: FormName, among: Sequence[int]) -> float:
        return max(times[name, rows] / best[rows] for rows in among)

    alone = min(names, key=lambda name: slower(name, (*NARROW_ROWS, *WIDE_ROWS)))
    if slower(alone, (*NARROW_ROWS, *WIDE_ROWS)) <= ALONE:
        return Forms(alone, alone, NARROW_ROWS[-1])
    narrow = min(names, key=lambda name: times[name, 1])
    wide = min(names, key=lambda name: slower(name, WIDE_ROWS))
    border = max((r for r in NARROW_ROWS if times[narrow, r] <= times[wide, r]), default=1)
    return Forms(narrow, wide, border)


def with_head(weight: torch.Tensor, dtype: torch.dtype, forms: Forms) -> Forms:
    """Return the forms with the fastest readings of the head for greedy choices.

    Args:
        weight: the head, float32 [vocabulary, width].
        dtype: the model's number format.
        forms: the forms chosen for the other matrices.
    """
    none = replace(forms, quick_rows=0, half_rows=0)
    eight = replace(none, quick_rows=MOST_ROWS)
    heads = {"whole": Head(weight, dtype, none)}
    if eight_bits_fit(weight):
        heads["eight"] = Head(weight, dtype, replace(eight, quick_own=False))
    if scan_fits(weight):
        heads["own"] = Head(weight, dtype, replace(eight, quick_own=True))
    if "packed" in candidates(torch.bfloat16):
        heads["half"] = Head(weight, dtype, replace(none, half_rows=MOST_ROWS))
    fastest: list[str] = []
    for rows in HEAD_ROWS:
        ordinary = weight[len(weight) // 2 :][:rows]  # behind the control tokens
        x = (_SIZE * F.normalize(ordinary, dim=1)).to(dtype)
        times = dict.fromkeys(heads, math.inf)
        for _ in range(HEAD_REPEATS):  # in turn, so that a disturbance meets all of them
            for name, head in heads.items():
                times[name] = min(times[name], _best(partial(head.choices, x), repeats=1))
        if {"eight", "own"} <= set(heads):  # one reading in eight bits is enough
            del heads[max("eight", "own", key=times.__getitem__)]
            times = {name: times[name] for name in heads}
        # held anyway for a few rows: another reading beside it has to be worth its memory
        quick = {name: t / ALONE if name in ("eight", "own") else t for name, t in times.items()}
        fastest.append(min(quick, key=quick.__getitem__))
    return replace(
        none,
        quick_rows=_rows_of(fastest, {"eight", "own"}),
        quick_own="own" in heads,
        half_rows=_rows_of(fastest, {"eight", "own", "half"}),
    )


def _rows_of(fastest: Sequence[str], among: set[str]) -> int:
    """Return up to how many rows one of `among` was always the fastest; 0 = never."""
    pairs = zip(HEAD_ROWS, fastest, strict=True)
    return max((rows for rows, _ in takewhile(lambda pair: pair[1] in among, pairs)), default=0)


def with_levels(matrices: Sequence[torch.Tensor], forms: Forms) -> Forms:
    """Return the forms with the product of four-bit matrices, and the border of their other form.

    Args:
        matrices: packed four-bit matrices, enough of them to exceed the caches.
        forms: the forms chosen for the other matrices.
    """
    shapes = [torch.empty(shape_of(m), dtype=torch.uint8, device="meta") for m in matrices]

    def times(rows: Sequence[int], **changed: Any) -> dict[int, float]:
        held = [LevelMatrix(m, replace(forms, **changed)) for m in matrices]
        return {n: _seconds(held, shapes, n) for n in rows}

    ways = {own: times((1,), level_own=own)[1] for own in _products_of_levels()}
    best = replace(forms, level_own=min(ways, key=ways.__getitem__), level_rows=MOST_ROWS)
    own = times(LEVEL_ROWS, level_own=best.level_own)
    most = LEVEL_ROWS[-1]
    fastest = own[most] / COPY
    for name in candidates(torch.bfloat16):
        if name not in ("packed", "packed32"):
            continue
        wide = times(LEVEL_ROWS, level_rows=0, level_wide=name)
        if wide[most] >= fastest:
            continue
        fastest = wide[most]
        slower = (r for r in LEVEL_ROWS if own[r] <= wide[r])
        best = replace(best, level_rows=max(slower, default=1), level_wide=name)
    return best


def _products_of_levels() -> tuple[bool, ...]:
    """Return whether torch's product, and our own, can be had."""
    return (False, True) if level_ops().library is not None else (False,)


def _product(held: torch.Tensor, name: FormName, x: torch.Tensor) -> torch.Tensor:
    return multiplied(x, held, name)


def _best(work: Callable[[], object], *, repeats: int = REPEATS) -> float:
    """Return the fewest seconds that it took."""
    if torch.get_num_threads() > 1:
        time.sleep(REST)
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _seconds(
    products: Sequence[Callable[[torch.Tensor], torch.Tensor]],
    weights: Sequence[torch.Tensor],
    rows: int,
) -> float:
    """Return the seconds of a product with each of the weights [out, in] over so many rows.

    Weights of whole numbers are those of four-bit matrices, which take float32.
    """
    dtype = weights[0].dtype if weights[0].is_floating_point() else torch.float32
    inputs = {w.shape[1]: torch.zeros(rows, w.shape[1], dtype=dtype) for w in weights}

    def work() -> None:
        for weight, product in zip(weights, products, strict=True):
            product(inputs[weight.shape[1]])

    return _best(work)
