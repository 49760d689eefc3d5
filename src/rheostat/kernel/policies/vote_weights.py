"""Weights of votes from the model's own probabilities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rheostat.kernel.samples import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.votes import Seen


def by_perplexity(seen: Sequence[Seen], *, sharpness: float = 1.0) -> list[float]:
    """Return exp(sharpness x mean log-probability) of each sample, in (0, 1].

    Where it is unknown or not a number, the mean of the known ones; 1 when none is known.
    """
    known = [confidence(sample) for sample in seen]
    weights = [None if value is None else value**sharpness for value in known]
    given = [weight for weight in weights if weight is not None]
    usual = sum(given) / len(given) if given else 1.0
    return [usual if weight is None else weight for weight in weights]


def confidence(sample: Seen) -> float | None:
    """Return the inverse perplexity of a sample, in (0, 1]; None when it is not to be had."""
    outcome = sample.outcome
    if not isinstance(outcome, Ended) or outcome.logprob is None or math.isnan(outcome.logprob):
        return None
    return math.exp(min(0.0, outcome.logprob))
