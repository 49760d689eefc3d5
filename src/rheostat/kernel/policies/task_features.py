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
    """Return length, words, numbers, digits, the longest number, each operator's share of a task.

    Always the same number of features, all finite; counts enter by log(1 + count).
    """
    numbers = NUMBER.findall(text)
    digits = [sum(map(str.isdigit, number)) for number in numbers]
    counts = (len(text), len(text.split()), len(numbers), sum(digits), max(digits, default=0))
    return (
        *(math.log1p(count) for count in counts),
        *(float(text.count(operator) > 0) for operator in OPERATORS),
    )


def request_features(
    prompt: str | None, messages: Sequence[Mapping[str, str]]
) -> tuple[float, ...]:
    """Return the features of a raw prompt, or of all messages of a chat."""
    return text_features(prompt or "\n".join(message["content"] for message in messages))
