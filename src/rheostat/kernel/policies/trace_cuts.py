"""Where a written-out line of reasoning may be cut: loops, and answers that are found again.

TrimR (arXiv:2505.17155): a window of tokens that repeats back to back ends the thinking, and so do
answers of successive segments that agree. Reconsidering Overthinking (arXiv:2508.02178): what
comes after the first correct solution is external redundancy. Everything here is a pure function
of token ids, of answers, or of sentences; whether two answers agree is the caller's to say. The
same cuts token by token, while a sequence is written, are in `stop_early.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LENGTHS = (8, 16, 32, 64)
"""Windows, in tokens (ours)."""
TIMES = 4
"""Copies of a window, back to back, that make a loop (ours)."""
SENTENCE = re.compile(r"(?:[^.!?\n]|[.!?](?=\S))+(?:[.!?]|\n)?|[.!?\n]+")
"""A sentence with its end; the pieces of a text join to the whole text."""


def loop_end(
    tokens: Sequence[int], *, lengths: Sequence[int] = LENGTHS, times: int = TIMES
) -> int | None:
    """Return after how many tokens a loop is complete for the first time; None = there is none.

    A loop of any period that divides a window is found as well.

    Args:
        tokens: token ids in the order in which they were written.
        lengths: windows that may repeat, in tokens.
        times: copies of a window that make a loop, at least 2.
    """
    ids = np.asarray(tokens)
    ends = [_loop_end(ids, length, times) for length in lengths]
    return min((end for end in ends if end is not None), default=None)


def _loop_end(ids: NDArray[np.int64], length: int, times: int) -> int | None:
    """Find `length` x (times - 1) tokens in a row that equal the one a window before."""
    if len(ids) < length * times:
        return None
    same = ids[length:] == ids[:-length]
    breaks = np.flatnonzero(~same)
    starts = np.concatenate([[0], breaks + 1])
    stops = np.concatenate([breaks, [len(same)]])
    needed = length * (times - 1)
    long = np.flatnonzero(stops - starts >= needed)
    return int(starts[long[0]]) + needed + length if len(long) else None


def agreed_at(answers: Sequence[str | None], *, agreeing: int = 3) -> int | None:
    """Return the index of the segment whose answer makes enough agree in a row; None = never.

    A segment without an answer neither counts nor breaks the row.

    Args:
        answers: the class of each segment's answer, None where it has none.
        agreeing: answers in a row; the paper's M + 1 = 3.
    """
    row, last = 0, None
    for i, answer in enumerate(answers):
        if answer is None:
            continue
        row, last = (row + 1 if answer == last else 1), answer
        if row >= agreeing:
            return i
    return None


def sentences(text: str) -> list[str]:
    """Split a text into sentences; joined they are the text."""
    return SENTENCE.findall(text)


def first_solution(text: str, answer: str) -> int | None:
    """Return the length of the text, in characters, up to the first sentence with the answer.

    The answer must stand by itself: 12 is not found in 312 or 12.5. None = it is not in the text.
    """
    if not answer:
        return None
    alone = re.compile(rf"(?<![\w.]){re.escape(answer)}(?!\w|\.\d)", re.IGNORECASE)
    length = 0
    for sentence in sentences(text):
        length += len(sentence)
        if alone.search(sentence):
            return length
    return None


def external_redundancy(text: str, answer: str) -> float:
    """Return the share of the text after the first correct solution, in [0, 1]; 0 without one."""
    cut = first_solution(text, answer)
    return 1 - cut / len(text) if cut is not None and text else 0.0


def internal_redundancy(embeddings: NDArray[np.float64]) -> float:
    """Return the mean likeness of adjacent windows of sentences, in [0, 1].

    Windows are a tenth of the sentences long and a twentieth apart (at least one sentence); the
    likeness is max(0, cosine) of their mean embeddings.

    Args:
        embeddings: one a sentence, [sentences, width].
    """
    count = len(embeddings)
    window, stride = max(1, count // 10), max(1, count // 20)
    starts = range(0, count - window + 1, stride)
    means = np.array([embeddings[start : start + window].mean(0) for start in starts])
    if len(means) < 2:
        return 0.0
    norms = np.linalg.norm(means, axis=1)
    likeness = (means[1:] * means[:-1]).sum(1) / np.maximum(norms[1:] * norms[:-1], 1e-12)
    return float(np.maximum(0.0, likeness).mean())
