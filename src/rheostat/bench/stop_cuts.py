"""Ends within a sample, on recorded long samples: what a cut saves, and what it loses.

A cut sees a sample token by token as a run would; what it leaves is read like any sample. At equal
tokens it is compared with cuts at fixed lengths and with cuts by lot, the best mixture of two of
each: a cut that looks at what is written must lose less than one that does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.solve_rules import paired
from rheostat.engines.stopping import row_stop
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.engines.sample_store import StoredSample
    from rheostat.engines.tokenizer import Tokenizer
    from rheostat.kernel.stop import StopPolicy
    from rheostat.stages.recorded import Recorded

    Floats = NDArray[np.float64]
    Right = Callable[[Recorded, str], bool]
    """Whether a text answers a question."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Means over the samples of every question, [questions]."""

    tokens: Floats
    right: Floats


def written(samples: Sequence[StoredSample], tokenizer: Tokenizer) -> list[list[str]]:
    """Return the text of each sample after each of its tokens."""
    found = []
    for sample in samples:
        stream, text, after = tokenizer.stream(), "", []
        for token in sample.token_ids:
            text += stream.push(token)
            after.append(text)
        found.append(after)
    return found


def cut_at(policy: StopPolicy | None, sample: StoredSample, after: Sequence[str]) -> int:
    """Return how many of its tokens a sample keeps."""
    stop = row_stop(policy, 0, f"{sample.question}\n{sample.index}")
    if stop is None:
        return len(after)
    for n in range(1, len(after) + 1):
        if stop.ends(sample.token_ids[:n], after[n - 1], Trace()):
            return n
    return len(after)


def cut(
    policy: StopPolicy | None,
    questions: Sequence[Recorded],
    after: Mapping[str, list[list[str]]],
    right: Right,
) -> Cut:
    """Cut every sample of every question.

    Args:
        policy: None = the natural end.
        after: `written` of each question.
        right: called with what is left of a sample.
    """
    rows = []
    for question in questions:
        of_each = []
        for sample, texts in zip(question.samples, after[question.id], strict=True):
            kept = cut_at(policy, sample, texts)
            whole = kept == len(texts)
            text = sample.text if whole else texts[kept - 1]
            tokens = sample.cost.new_tokens if whole else kept
            of_each.append((tokens, right(question, text)))
        rows.append(np.mean(np.array(of_each, dtype=float), axis=0))
    tokens, share = np.array(rows).T
    return Cut(tokens=tokens, right=share)


def at_equal_tokens(own: Cut, others: Sequence[Cut]) -> dict[str, Any]:
    """Compare with the mixture of two others of the same mean tokens: the gain in right samples."""
    ordered = sorted(others, key=lambda other: other.tokens.mean())
    means = [other.tokens.mean() for other in ordered]
    above = min(int(np.searchsorted(means, own.tokens.mean())), len(means) - 1)
    below = max(above - 1, 0)
    span = means[above] - means[below]
    share = 1.0 if span <= 0 else float(np.clip((own.tokens.mean() - means[below]) / span, 0, 1))
    mixed = ordered[below].right + share * (ordered[above].right - ordered[below].right)
    return paired(own.right - mixed, "right")
