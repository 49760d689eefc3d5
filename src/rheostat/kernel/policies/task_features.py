"""What a task's text tells before any sample: numbers that say how hard it may be (ours)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
OPERATORS = "+-*/\u00d7\u00f7^=%"


def text_features(text: str) -> tuple[float, ...]:
    """Return length, words, numbers, digits, the longest number, which operators, and sizes.

    Always the same number of features, all finite; counts and sizes enter by log(1 + count).
    """
    numbers = NUMBER.findall(text)
    digits = [sum(map(str.isdigit, number)) for number in numbers]
    counts = (len(text), len(text.split()), len(numbers), sum(digits), max(digits, default=0))
    return (
        *(math.log1p(count) for count in counts),
        *(float(text.count(operator) > 0) for operator in OPERATORS),
        *_sizes([value for number in numbers for value in _values(number)]),
    )


def _sizes(values: Sequence[float]) -> tuple[float, ...]:
    """Return how large numbers and their last digits are, and which are easy to reckon with."""
    logs = [math.log1p(value) for value in values] or [0.0]
    lasts = [value % 10 for value in values]
    return (
        max(logs),
        min(logs),
        sum(logs) / len(logs),
        sum(math.log1p(last) for last in lasts) / len(logs),
        float(len(set(values)) < len(values)),
        float(0 in lasts),
        float(5 in lasts),
        float(any(value <= 1 for value in values)),
        float(bool(values) and values[-1] == min(values)),
    )


def _values(number: str) -> tuple[float, ...]:
    """Return what a number is worth: with commas as of thousands; nothing where it is none."""
    try:
        value = float(number.replace(",", ""))
    except ValueError:  # such as a date or a version
        return ()
    return (value,) if math.isfinite(value) else ()


def request_features(
    prompt: str | None, messages: Sequence[Mapping[str, str]]
) -> tuple[float, ...]:
    """Return the features of a raw prompt, or of all messages of a chat."""
    return text_features(prompt or "\n".join(message["content"] for message in messages))
