"""Weights of reasoning paths by their probability, improbable ones pruned: RPC (arXiv:2502.00511).

p_i = exp(mean log-probability of path i's tokens): length-normalised, as in the authors' code and
unlike their theory. Equal texts are one path. Of the distinct paths with an answer, a mixture of
two Weibull laws is fitted to the p_i by maximum likelihood; a path is pruned when the law of the
lower mean is the likelier one for it and p_i is below the mean of all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rheostat.kernel.policies.vote_weights import by_perplexity
from rheostat.kernel.samples import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.policies.votes import Seen

    Floats = NDArray[np.float64]

LEAST = 8
"""Distinct paths below which a fit says nothing, and none is pruned (ours)."""
START = (0.5, 1.0, 1.0, 1.5, 2.0)
"""Share of the first law; shape and scale of the first and of the second: the authors'."""
BOUNDS = ((0.2, 0.8), *((0.01, None),) * 4)


class Mixture(NamedTuple):
    """Two Weibull laws and the share of the first."""

    share: float
    shapes: tuple[float, float]
    scales: tuple[float, float]


def by_path(seen: Sequence[Seen], *, prune: bool = True) -> list[float]:
    """Return the weight of each sample: p_i of a path's first sample, 0 if seen before or pruned.

    Args:
        seen: samples in launch order.
        prune: whether improbable paths are left out.
    """
    weights = by_perplexity(seen)
    known: set[tuple[str | None, str]] = set()
    for i, sample in enumerate(seen):
        path = (sample.answer, _text(sample, i))
        if sample.answer is None or path in known:
            weights[i] = 0.0
        known.add(path)
    paths = [i for i, weight in enumerate(weights) if weight > 0]
    if prune and len(paths) >= LEAST:
        kept = worth_keeping(np.array([weights[i] for i in paths]))
        for i, keep in zip(paths, kept.tolist(), strict=True):
            weights[i] *= keep
    return weights


def _text(sample: Seen, index: int) -> str:
    """Return what tells a path from others; a sample of unknown text is a path of its own."""
    outcome = sample.outcome
    return outcome.text if isinstance(outcome, Ended) and outcome.text else f"\0{index}"


def worth_keeping(probabilities: Floats) -> NDArray[np.bool_]:
    """Return which paths stay, [paths]; all of them where no mixture can be fitted."""
    mixture = fitted(probabilities)
    every = np.ones(len(probabilities), bool)
    if mixture is None:
        return every
    first, second = _densities(probabilities, mixture)
    means = [
        scale * math.gamma(1 + 1 / shape)
        for shape, scale in zip(mixture.shapes, mixture.scales, strict=True)
    ]
    high, low = (first, second) if means[0] > means[1] else (second, first)
    kept = (high >= low) | (probabilities >= probabilities.mean())
    return kept if kept.any() else every


def fitted(probabilities: Floats) -> Mixture | None:
    """Fit the mixture by maximum likelihood; None when the search fails."""
    from scipy.optimize import minimize

    def loss(values: Floats) -> float:
        parts = _densities(probabilities, _mixture(values))
        return -float(np.log(parts[0] + parts[1] + 1e-300).sum())

    found = minimize(loss, START, bounds=BOUNDS, method="L-BFGS-B")
    usable = np.isfinite(found.x).all() and np.isfinite(found.fun)
    return _mixture(found.x) if usable else None


def _mixture(values: Sequence[float] | Floats) -> Mixture:
    share, *rest = (float(value) for value in values)
    return Mixture(share, (rest[0], rest[2]), (rest[1], rest[3]))


def _densities(x: Floats, mixture: Mixture) -> tuple[Floats, Floats]:
    """Return the two densities times their shares; they are kept finite."""
    made = []
    for weight, k, scale in zip(
        (mixture.share, 1 - mixture.share), mixture.shapes, mixture.scales, strict=True
    ):
        z = np.maximum(x, 1e-12) / scale
        log = math.log(weight * k / scale) + (k - 1) * np.log(z) - np.minimum(z, 1e6) ** min(k, 50)
        made.append(np.exp(np.clip(log, -700, 700)))
    return made[0], made[1]
