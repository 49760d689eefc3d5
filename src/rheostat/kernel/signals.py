"""Reference versions of the signals that decisions read; engines are tested against these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def log_softmax(logits: Floats) -> Floats:
    """Return log-probabilities over the last axis, in nats."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalised: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def entropy(logits: Floats) -> Floats:
    """Return the entropy over the last axis, in nats: 0 = certain, log(vocabulary) = uniform."""
    logp = log_softmax(logits)
    # an impossible token (-inf) adds 0 log 0 = 0
    terms = np.exp(logp) * np.where(np.isneginf(logp), 0.0, logp)
    nats: Floats = -terms.sum(axis=-1)
    return nats


def margin(logits: Floats) -> Floats:
    """Return the gap between the two largest logits of the last axis."""
    top = np.sort(logits, axis=-1)[..., -2:]
    gap: Floats = top[..., 1] - top[..., 0]
    return gap


def cosine(a: Floats, b: Floats) -> Floats:
    """Return the cosine of paired vectors over the last axis; 0 where one of them is zero."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    dots = (a * b).sum(axis=-1)
    result: Floats = np.divide(dots, norms, out=np.zeros_like(norms), where=norms > 0)
    return result


def copy_rate(prompt: list[int], output: list[int], *, match: int = 3) -> float:
    """Return the share of output tokens that follow a `match`-gram seen before, as it went on.

    The most recent earlier occurrence in prompt + output so far decides: this is the acceptance
    that a lookup draft of one token would have had. 0 for an output shorter than 1 token.
    """
    seen: dict[tuple[int, ...], int] = {}
    history = list(prompt)
    for end in range(match, len(history)):
        seen[tuple(history[end - match : end])] = history[end]
    hits = 0
    for token in output:
        key = tuple(history[-match:])
        hits += seen.get(key) == token
        if len(key) == match:
            seen[key] = token
        history.append(token)
    return hits / len(output) if output else 0.0
