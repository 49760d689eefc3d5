"""From logits to a distribution and a token: temperature, then top-k, then top-p, then min-p.

The order and the rules at the borders are those of the `transformers` library: logits equal to the
k-th largest all stay, the nucleus is the smallest set whose mass reaches p, and min-p keeps what is
at least that share of the likeliest token's probability (arXiv 2407.01082). Ties at the border of
the nucleus, and at temperature 0, go to the lower token id. The repetition penalty (arXiv
1909.05858) comes before all of them: logits of tokens in the text are divided by it where positive
and multiplied by it where negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.policies.token_tree import parents_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def distribution(
    logits: Floats,
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Floats:
    """Return the probabilities that a token is drawn from.

    Args:
        logits: [..., vocabulary]; -inf = impossible.
        temperature: 0 = all mass on the largest logit.
        top_k: 0 = no limit.
        top_p: 1 = no limit.
        min_p: 0 = no limit.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if temperature == 0:
        best: Floats = np.zeros_like(logits)
        np.put_along_axis(best, logits.argmax(axis=-1, keepdims=True), 1.0, axis=-1)
        return best
    with np.errstate(over="ignore"):  # a tiny temperature sends the others to -inf: as it should
        logits = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    if 0 < top_k < logits.shape[-1]:
        smallest = np.sort(logits, axis=-1)[..., [-top_k]]
        logits = np.where(logits < smallest, -np.inf, logits)
    weights = np.exp(logits)
    if top_p < 1.0:
        weights = np.where(_nucleus(_normalised(weights), top_p), weights, 0.0)
    if min_p > 0.0:  # the largest weight is 1
        weights = np.where(weights >= min_p, weights, 0.0)
    return _normalised(weights)


def penalised(logits: Floats, past: Sequence[int], draft: Sequence[int], penalty: float) -> Floats:
    """Return logits with those of repeated tokens lowered.

    Args:
        logits: after the past and after each draft token: [k + 1, vocabulary].
        past: token ids of the prompt and of what was written.
        draft: k token ids, or a tree of them; each counts as written for what hangs on it.
        penalty: over 1 lowers, under 1 raises.
    """
    lowered: Floats = np.array(logits, dtype=np.float64)
    seen = [np.unique(np.array(past, dtype=np.int64))]
    for token, parent in zip(draft, parents_of(draft), strict=True):
        seen.append(np.union1d(seen[parent + 1], token))
    for row, repeated in zip(lowered, seen, strict=True):
        values = row[repeated]
        row[repeated] = np.where(values > 0, values / penalty, values * penalty)
    return lowered


def draw(probabilities: Floats, rng: np.random.Generator) -> int:
    """Draw an index of a one-dimensional array of weights."""
    cumulative = probabilities.cumsum()
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _nucleus(probabilities: Floats, top_p: float) -> NDArray[np.bool_]:
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    falling = np.take_along_axis(probabilities, order, axis=-1)
    # mass of a token and of everything less likely, summed from the small end
    tail = falling[..., ::-1].cumsum(axis=-1)[..., ::-1]
    kept_in_order = tail > 1.0 - top_p
    kept_in_order[..., 0] = True
    kept = np.zeros_like(kept_in_order)
    np.put_along_axis(kept, order, kept_in_order, axis=-1)
    return kept


def _normalised(weights: Floats) -> Floats:
    result: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return result
