"""Sequential Monte Carlo over weighted draws: weights of particles, and when to draw them anew.

Particles carry log weights. Their normalised weights are the posterior, and the mean weight is an
unbiased estimate of the normaliser: with AWRS weights (arXiv 2504.05410), of the probability that
the model's own answer satisfies the constraint. When the effective sample size (sum W)^2 / sum W^2
falls below a share of N, particles are drawn anew in proportion to their weights, by systematic
resampling (Kitagawa 1996), and every one then carries the mean weight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def log_mean(log_weights: Floats) -> float:
    """Return the logarithm of the mean weight; -inf when every weight is 0."""
    top = float(log_weights.max())
    if top == -math.inf:
        return top
    return top + math.log(float(np.exp(log_weights - top).mean()))


def normalised(log_weights: Floats) -> Floats:
    """Return weights that sum to 1, of log weights of which one is finite."""
    weights = np.exp(log_weights - log_weights.max())
    shares: Floats = weights / weights.sum()
    return shares


def effective_size(log_weights: Floats) -> float:
    """Return how many equal particles these are worth: 1 .. N; 0 when every weight is 0."""
    if log_weights.max() == -math.inf:
        return 0.0
    return 1.0 / float(np.square(normalised(log_weights)).sum())


def ancestors(log_weights: Floats, rng: np.random.Generator) -> Ints:
    """Return which particles go on, [N], in rising order: each about N times its weight."""
    count = len(log_weights)
    ends = normalised(log_weights).cumsum()
    places = (rng.random() + np.arange(count)) / count
    found: Ints = np.searchsorted(ends, places * ends[-1], side="right")
    return found
