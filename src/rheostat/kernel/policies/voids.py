"""L2 Adaptive Computation (arXiv:2505.14467): a layer is void for a token that it hardly grows.

With n_l the length of a token's state behind layer l and D_l = n_l - n_{l-1}, layer l is void where
D_l < alpha * (max R - min R), R being the changes of the layers before it; the first layer is
measured against itself. Nothing is saved by knowing it: D_l needs the layer's own output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]


def voids(lengths: Floats, alpha: float) -> Bools:
    """Return which layers are void for which tokens, [n, layers].

    Args:
        lengths: of each token's state before the first layer and behind every layer, [n, layers+1].
        alpha: share of the range of earlier changes that a change has to reach.
    """
    changes = np.diff(lengths, axis=1)
    earlier = np.concatenate([changes[:, :1], changes[:, :-1]], axis=1)
    highest = np.maximum.accumulate(earlier, axis=1)
    lowest = np.minimum.accumulate(earlier, axis=1)
    void: Bools = changes < alpha * (highest - lowest)
    return void
