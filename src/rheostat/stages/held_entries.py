"""What a cache decision leaves to be read, and the products that letting go takes, step by step.

Follows the borders of `rheostat.kernel.kv_cache`: entries are let go when the prompt has been read
and after every so many further tokens. Merging entries takes products of its own, which depend on
what is held and are not predicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.kernel.kv_cache import CachePlan, Eviction
    from rheostat.kernel.model_cost import ModelShape


def held_entries(plan: CachePlan | None, prompt: int) -> Callable[[int], int]:
    """Return the entries that a pass reads after so many tokens of a row.

    Args:
        plan: the cache decision; None = every token is held.
        prompt: tokens before the first border.
    """
    eviction = None if plan is None else plan.eviction
    if eviction is None:
        return lambda context: context
    held: list[tuple[int, int]] = []  # borders, and the entries that are held behind each

    def entries(context: int) -> int:
        if context < prompt:
            return context
        at = (context - prompt) // eviction.every
        while len(held) <= at:
            border = prompt + len(held) * eviction.every
            before = held[-1][1] + eviction.every if held else border
            held.append((border, min(before, eviction.entries(border))))
        border, kept = held[at]
        return kept + context - border

    return entries


def compacting_products(plan: CachePlan | None, shape: ModelShape, prompt: int, tokens: int) -> int:
    """Return the multiply-adds with which one attention is read again for a row of `tokens`."""
    eviction = None if plan is None else plan.eviction
    if eviction is None or eviction.newest == 0:
        return 0
    entries = held_entries(plan, prompt)
    borders = range(prompt, tokens, eviction.every)
    return (
        shape.heads
        * shape.head_size
        * sum(
            _watched(eviction, border, prompt) * _before(entries, border, prompt, eviction.every)
            for border in borders
            if eviction.newest is None
            or entries(border) < _before(entries, border, prompt, eviction.every)
        )
    )


def _before(entries: Callable[[int], int], border: int, prompt: int, every: int) -> int:
    """Return the entries held when a border is reached."""
    return border if border == prompt else entries(border - every) + every


def _watched(eviction: Eviction, border: int, prompt: int) -> int:
    """Return of how many of the newest tokens the attention is computed again."""
    since = border if border == prompt else eviction.every
    return since if eviction.newest is None else min(eviction.newest, since)
