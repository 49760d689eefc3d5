"""`edit`: correct the spelling of a passage; the answer should be the passage as it was written.

The passages come from Python's documentation; a few words of each get one typing error: two
letters swapped, a letter dropped, or a letter doubled.
"""

from __future__ import annotations

import random
import re

from rheostat.engines.base import Request
from rheostat.workloads.counting import repeats, words
from rheostat.workloads.parts import Item, item_id
from rheostat.workloads.passages import passages

TYPOS = 5
"""Typing errors a passage."""
REPEATED_WORDS = 4
"""A run of so many words must not be found twice in a passage."""

_WORD = re.compile(r"(?<![\w./\"'\u2019-])[a-z]{5,}(?![\w/\"'\u2019(-]|\.\w)")


def items(seed: int) -> list[Item]:
    """Return one item a passage, its typing errors drawn from the seed and the passage.

    Passages that say the same few words twice are left out, see `repeats`.
    """
    return [
        _item(passage, seed)
        for passage in passages()["edit"]
        if not repeats(words(passage), REPEATED_WORDS)
    ]


def misspelt(text: str, generator: random.Random, *, count: int = TYPOS) -> str:
    """Return the text with one typing error in each of `count` plain words."""
    plain = list(_WORD.finditer(text))
    chosen = generator.sample(plain, min(count, len(plain)))
    for word in sorted(chosen, key=re.Match.start, reverse=True):
        text = text[: word.start()] + mistyped(word.group(), generator) + text[word.end() :]
    return text


def mistyped(word: str, generator: random.Random) -> str:
    """Return the word with one error behind its first letter: a swap, a drop or a doubling."""
    at = generator.randrange(1, len(word) - 1)
    swap = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    drop = word[:at] + word[at + 1 :]
    double = word[: at + 1] + word[at:]
    # Two equal letters swapped are no error.
    return generator.choice([form for form in (swap, drop, double) if form != word])


def request_text(passage: str) -> str:
    """Return the request for a passage with errors.

    Small models need to be told to copy, and told again behind the text.
    """
    return (
        f"Copy this text and correct the spelling mistakes in it:\n\n{passage}\n\n"
        "Answer with the whole text only, with the spelling mistakes corrected."
    )


def _item(passage: str, seed: int) -> Item:
    wrong = misspelt(passage, random.Random(f"edit {seed} {passage}"))
    message = {"role": "user", "content": request_text(wrong)}
    return Item(
        key=passage,
        request=Request(id=item_id("edit", passage), messages=(message,), reference=passage),
    )
