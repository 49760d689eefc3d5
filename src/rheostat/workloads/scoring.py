"""Scores a text against its reference, from 0 (nothing in common) to 1 (the same)."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from rheostat.workloads.parts import normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

_FENCE = re.compile(r"^[ \t]*```\w*[ \t]*$", re.MULTILINE)
_FINAL = ".,;:!?"


def score_text(workload_kind: str, text: str, reference: str) -> float:
    """Return the score of a text.

    `edit` compares the sequences of words, `copy` the sequences of lines (indentation counts, code
    fences, blank lines and trailing space do not): `2 m / (a + b)` with `m` matched of `a` and `b`
    entries. Everything else is right or wrong: equal but for case, white space and final
    punctuation.
    """
    if workload_kind == "edit":
        return _similarity(text.split(), reference.split())
    if workload_kind == "copy":
        return _similarity(_code_lines(text), _code_lines(reference))
    return float(_folded(text) == _folded(reference))


def _similarity(left: Sequence[str], right: Sequence[str]) -> float:
    # Difflib would otherwise pass over words that are frequent in long texts.
    return SequenceMatcher(None, left, right, autojunk=False).ratio()


def _code_lines(text: str) -> list[str]:
    lines = (line.rstrip() for line in _FENCE.sub("", text).split("\n"))
    return [line for line in lines if line]


def _folded(text: str) -> str:
    return normalised(text).rstrip(_FINAL + " ")
