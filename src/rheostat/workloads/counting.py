"""Says whether an output earned its copied text: no 8-gram loop, and half of its reference.

An output that repeats itself is easy to draft for and worth nothing; it must not count towards a
claim of speed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

LOOP_TIMES = 3
"""Times that an n-gram must be found anywhere to be a loop."""


def has_loop(token_ids: Sequence[Hashable], n: int = 8) -> bool:
    """Say whether an n-gram is repeated as a loop repeats it.

    Either it is found three times or more, overlaps included; or it is found twice with no gap
    between, the second beginning at most `n` tokens after the first. Two distant places with the
    same n-gram are no loop: code and reference texts say things twice.
    """
    places: dict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    for start in range(len(token_ids) - n + 1):
        found = places[tuple(token_ids[start : start + n])]
        found.append(start)
        if len(found) >= LOOP_TIMES or (len(found) > 1 and found[-1] - found[-2] <= n):
            return True
    return False


def repeats(tokens: Sequence[Hashable], n: int) -> bool:
    """Say whether any n-gram is found twice: the test of texts that are to be copied.

    Where the same run of words has two continuations, a small model skips from one to the other.
    """
    grams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return len(set(grams)) < len(grams)


def words(text: str) -> list[str]:
    """Return the words and numbers of a text in lower case, punctuation left out."""
    return re.findall(r"\w+", text.casefold())


def overlap(text: str, reference: str) -> float:
    """Return the share of the reference's words that the text holds, repeated words counted.

    A reference without a word gives 0: there was nothing to copy.
    """
    wanted = Counter(words(reference))
    if not wanted:
        return 0.0
    return (wanted & Counter(words(text))).total() / wanted.total()


def counts(text: str, token_ids: Sequence[int], reference: str, *, minimum: float = 0.5) -> bool:
    """Say whether an output counts: no loop, and at least `minimum` of the reference's words."""
    return not has_loop(token_ids) and overlap(text, reference) >= minimum
