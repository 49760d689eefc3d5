"""Full masking: every token is checked, and one is taken from what is left.

The base of the `token` seam. The law is p restricted to the valid tokens and renormalised, and the
weight is their mass Z, exactly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.constraint import Taken
from rheostat.kernel.policies.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]


def masked(possible: Bools, check: Callable[[int], bool]) -> Bools:
    """Check every possible token, one by one; return which are valid, [vocabulary]."""
    valid = np.zeros_like(possible)
    for token in np.flatnonzero(possible).tolist():
        valid[token] = check(token)
    return valid


def likeliest_of(scores: Floats, valid: Bools, *, checks: int) -> Taken:
    """Return the valid token of the largest score, which is not -inf; ties go to the lower id."""
    left = np.where(valid, scores, -np.inf)
    best = int(left.argmax())
    return Taken(None if left[best] == -np.inf else best, 0.0, checks)


def drawn_of(law: Floats, valid: Bools, rng: np.random.Generator, *, checks: int) -> Taken:
    """Draw one of the valid tokens; the weight is their mass."""
    left = np.where(valid, law, 0.0)
    mass = float(left.sum())
    if mass == 0.0:
        return Taken(None, -math.inf, checks)
    return Taken(draw(left, rng), math.log(mass), checks)
