"""Deals the documentation's paragraphs out to the workloads that need text, each to one only."""

from __future__ import annotations

from functools import cache
from itertools import cycle
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from rheostat.workloads.paragraphs import sections

if TYPE_CHECKING:
    from collections.abc import Mapping

Use = Literal["prose", "edit", "summarise"]

WORDS: Mapping[Use, tuple[int, int]] = MappingProxyType(
    {"prose": (200, 300), "edit": (60, 90), "summarise": (60, 120)}
)
"""Least and most words of a passage."""
_TURNS: tuple[Use, ...] = ("prose", "edit", "summarise", "edit")


@cache
def passages() -> Mapping[Use, tuple[str, ...]]:
    """Return the passages of each use; every paragraph is in one passage at most."""
    dealt: dict[Use, list[str]] = {"prose": [], "edit": [], "summarise": []}
    uses = cycle(_TURNS)
    for section in sections():
        left = section
        while left:
            use = next(uses)
            if _count(left) < WORDS[use][0]:
                if use == "prose":
                    continue
                break
            took, left = _take(left, *WORDS[use])
            if took:
                dealt[use].append("\n\n".join(took) if use == "prose" else " ".join(took))
    return MappingProxyType({use: tuple(texts) for use, texts in dealt.items()})


def _take(
    paragraphs: tuple[str, ...], least: int, most: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a passage from the front, or nothing, and the paragraphs after it."""
    took: list[str] = []
    for index, paragraph in enumerate(paragraphs):
        if _count((*took, paragraph)) > most:
            # Too long to join: the passage begins anew behind it.
            return (), paragraphs[max(index, 1) :]
        took.append(paragraph)
        if _count(took) >= least:
            return tuple(took), paragraphs[index + 1 :]
    return (), ()


def _count(paragraphs: tuple[str, ...] | list[str]) -> int:
    return sum(len(paragraph.split()) for paragraph in paragraphs)
