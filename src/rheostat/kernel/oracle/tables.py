"""Tables of what decisions inside the model would have lost, as engines record them.

An entry is a choice of token: what the model says when it is left at an exit, or runs without
some sub-layers. What it loses is whether that is another token than the full model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def changed(choices: Ints, full: Ints) -> Floats:
    """Return 1 where a choice is another token than the full model's, [tokens, choices].

    Args:
        choices: tokens that each choice takes, [tokens, choices].
        full: the full model's, [tokens].
    """
    return np.asarray(choices != full[:, None], dtype=np.float64)


def smallest_exits(choices: Ints) -> Ints:
    """Return for each token the first exit whose token is the full model's, [tokens].

    Args:
        choices: the token at every exit, the last of them the full model, [tokens, exits].
    """
    return np.asarray((choices == choices[:, -1:]).argmax(axis=1))


def windowed(losses: Floats, size: int) -> Floats:
    """Return mean losses of windows of consecutive tokens, [windows, choices].

    Tokens behind the last whole window are left out.
    """
    windows = len(losses) // size
    return np.asarray(
        losses[: windows * size].reshape(windows, size, *losses.shape[1:]).mean(axis=1)
    )
