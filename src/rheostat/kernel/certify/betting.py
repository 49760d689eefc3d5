"""Betting bounds of a mean of losses in [0, 1] (Waudby-Smith & Ramdas, arXiv 2010.09686).

A gambler bets against "the true mean is at least m": the capital is multiplied by
1 - b_t (x_t - m), where the bet b_t depends on earlier losses alone, so that it does not grow in
expectation when the claim is true. By Ville's inequality it ever reaches 1 / alpha with
probability at most alpha: a bound that holds whenever one looks. The bets are the paper's
predictable plug-in, `sqrt(2 log(1 / alpha) / (n variance))` for a fixed n, and with
`t log(t + 1)` in place of n for looks at any time (hedged over both sides).

The capital never falls in m: a bet that is cut off at `SHARE / (1 - m)` multiplies by
1 - SHARE (x - m) / (1 - m), which grows in m as well. So bounds are found by bisection.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rheostat.kernel.certify.inversion import least_refuted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHARE = 0.75
"""Most of the capital that a single loss can take."""


class Interval(NamedTuple):
    """Bounds of a true mean."""

    low: float
    high: float


def betting_p_value(
    losses: Floats, limit: float, alpha: float, *, items: int | None = None
) -> Floats:
    """Return 1 / (the largest capital), at most 1, of losses [..., n] in a fixed order.

    Args:
        losses: in [0, 1], along the last axis; their order must not depend on their values.
        limit: the mean that is bet against.
        alpha: the level that the bets aim at; the p-value is valid whatever it is.
        items: size of the sample that these losses are the beginning of; None = all of it. What
            the beginning refutes at a level, the whole does too.
    """
    return np.exp(-_log_capital(losses, plug_in_bets(losses, alpha, items=items), limit))


def betting_upper(
    losses: Floats, alpha: float, *, items: int | None = None, level: float | None = None
) -> float:
    """Return the upper bound of the true mean at level alpha from losses [n].

    With `items`, of a sample that these are the beginning of, it holds wherever one stops. With
    `level`, it is the bound at that level, of bets that aim at alpha.
    """
    return _upper(losses, plug_in_bets(losses, alpha, items=items), math.log(1 / (level or alpha)))


def confidence_sequence(losses: Floats, alpha: float) -> Interval:
    """Return bounds after losses [n] that hold at every n together with probability 1 - alpha.

    Half of alpha is spent on each side. The bounds are those of the best look so far: they never
    widen when losses are added.
    """
    level, bets = math.log(2 / alpha), anytime_bets(losses, alpha)
    return Interval(1.0 - _upper(1.0 - losses, bets, level), _upper(losses, bets, level))


def refuted_after(losses: Floats, limit: float, alpha: float) -> NDArray[np.int64]:
    """Return after how many of the losses [..., n] a sequence first lies over `limit`; 0 = never.

    It is when `confidence_sequence` of the losses up to there has its lower bound at the limit.
    """
    gains = 1.0 - losses
    capital = _log_capitals(gains, anytime_bets(gains, alpha), 1.0 - limit)
    over = capital >= math.log(2 / alpha)
    return np.asarray(np.where(over.any(axis=-1), over.argmax(axis=-1) + 1, 0))


def plug_in_bets(losses: Floats, alpha: float, *, items: int | None = None) -> Floats:
    """Return the bet on each loss, [..., n], for a sample of n, or of so many items."""
    size = items or losses.shape[-1]
    return np.asarray(np.sqrt(2 * math.log(1 / alpha) / (size * _variances(losses))))


def anytime_bets(losses: Floats, alpha: float) -> Floats:
    """Return the bet on each loss, [..., n], for looks at any time."""
    looks = np.arange(1, losses.shape[-1] + 1)
    spread = _variances(losses) * looks * np.log(looks + 1)
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / spread))


def _variances(losses: Floats) -> Floats:
    """Return for each loss the variance of those before it, [..., n], drawn towards 1/4."""
    seen = np.arange(1, losses.shape[-1] + 1)
    means = (0.5 + np.cumsum(losses, axis=-1)) / (seen + 1)
    after = (0.25 + np.cumsum((losses - means) ** 2, axis=-1)) / (seen + 1)
    first = np.full((*losses.shape[:-1], 1), 0.25)
    return np.asarray(np.concatenate([first, after[..., :-1]], axis=-1), dtype=np.float64)


def _log_capital(losses: Floats, bets: Floats, limit: float) -> Floats:
    """Return the logarithm of the largest capital, at least 0 (before the first bet)."""
    if limit >= 1.0:  # a mean over 1 is impossible, and nothing is known of a mean of 1
        return np.asarray(np.where((losses < 1.0).any(axis=-1), np.inf, 0.0))
    return np.asarray(np.maximum(_log_capitals(losses, bets, limit).max(axis=-1), 0.0))


def _log_capitals(losses: Floats, bets: Floats, limit: float) -> Floats:
    """Return the logarithm of the capital after each loss, [..., n]; the limit is under 1."""
    cut = np.minimum(bets, SHARE / (1.0 - limit))
    return np.asarray(np.cumsum(np.log1p(-cut * (losses - limit)), axis=-1))


def _upper(losses: Floats, bets: Floats, level: float) -> float:
    return least_refuted(lambda m: float(_log_capital(losses, bets, m)) >= level, above=0.0)
