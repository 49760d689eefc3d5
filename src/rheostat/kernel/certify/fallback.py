"""Learn then test (arXiv 2110.01052) along a path with several starts: many settings, one level.

The settings stand in an order that was frozen before the certification data were opened. Alpha is
shared among the first of them, the starts; a setting that is certified hands its level on to the
next cheaper one behind it. So one useless setting that luck put first ends nothing: another start
has a level of its own. That is a sequentially rejective graph (Bretz et al., Statistics in Medicine
28, 2009) and, with a single chain, the fallback procedure (Wiens, Pharmaceutical Statistics 2,
2003): any setting is certified wrongly with probability at most alpha, whichever of them is taken,
however they were ordered, and however their losses depend on each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

STARTS = (0.5, 0.25, 0.125, 0.125)
"""Shares of alpha that the first settings begin with; of fewer, the first has the rest too."""


def shares(settings: int) -> tuple[float, ...]:
    """Return the share of alpha that each start begins with, for a path of so many settings."""
    own = STARTS[:settings]
    return (own[0] + 1.0 - sum(own), *own[1:]) if own else ()


def frozen_path(
    settings: Iterable[T], loss: Callable[[T], float], price: Callable[[T], float]
) -> list[T]:
    """Order settings by a loss estimated on other data; keep those that may be tested.

    These are the starts, and behind each start what is cheaper than all from it on. Settings of
    equal loss come cheapest first; the order of the input decides nothing else.
    """
    order = sorted(settings, key=lambda s: (loss(s), price(s)))
    prices = [price(setting) for setting in order]
    kept = set()
    for start in range(min(len(STARTS), len(order))):
        at: int | None = start
        while at is not None and at not in kept:
            kept.add(at)
            at = cheaper(prices, at)
    return [order[at] for at in sorted(kept)]


def certified(
    path: Sequence[T],
    price: Callable[[T], float],
    p_value: Callable[[T, float], float],
    alpha: float,
) -> list[T]:
    """Return the settings that are certified; each is cheaper than the one before it.

    Args:
        path: as `frozen_path` made it.
        price: of a setting.
        p_value: the evidence for a setting, and the level that it is held against. What is no
            cheaper than a certified setting is not tested.
        alpha: probability that any of what is returned is wrong.
    """
    prices = [price(setting) for setting in path]
    levels = [share * alpha for share in shares(len(path))]
    levels += [0.0] * (len(path) - len(levels))
    passed: list[T] = []
    cheapest = float("inf")
    for at, setting in enumerate(path):
        if levels[at] <= 0.0 or prices[at] >= cheapest:
            continue
        if not p_value(setting, levels[at]) <= levels[at]:
            continue
        passed.append(setting)
        cheapest = prices[at]
        following = cheaper(prices, at)
        if following is not None:
            levels[following] += levels[at]
    return passed


def cheaper(prices: Sequence[float], at: int) -> int | None:
    """Return the place of the first price behind a place that is under its own; None = none is."""
    return next((i for i in range(at + 1, len(prices)) if prices[i] < prices[at]), None)
