"""Learn then test by a fixed sequence (arXiv 2110.01052): many settings, one level.

The settings stand in an order that was frozen before the certification data were opened, here a
path from the base. They are tested one after another, each at the whole level alpha, until the
first that is not certified. If any is certified wrongly, then so is the first on the path whose
true loss is over the limit, which happens with probability at most alpha: so every certified
setting holds together, whichever of them is taken, and however they were ordered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


def certified(path: Iterable[T], p_value: Callable[[T], float], alpha: float) -> list[T]:
    """Return the settings before the first that fails; those behind it are never tested."""
    passed: list[T] = []
    for setting in path:
        if not p_value(setting) <= alpha:
            break
        passed.append(setting)
    return passed


def frozen_path(
    settings: Iterable[T], loss: Callable[[T], float], price: Callable[[T], float]
) -> list[T]:
    """Order settings by a loss estimated on other data; keep those cheaper than all before.

    A dearer setting further along the path could never be chosen, and could end the sequence.
    Settings of equal loss come cheapest first; the order of the input decides nothing else.
    """
    kept: list[T] = []
    for setting in sorted(settings, key=lambda s: (loss(s), price(s))):
        if not kept or price(setting) < price(kept[-1]):
            kept.append(setting)
    return kept
