"""Bounds the error of stopping rules on counts, for all distributions: pair by pair, exactly.

A rule is a set S of states (n, x, y): n samples seen, x votes of the leader, y of its nearest rival
(at least 1 where n > x, so that a sample without an answer counts like an answer nobody else
gave). S is closed: with (n, x, y) it holds (n, x + 1, y) and (n, x, y - 1). When the rule stops on
the answer a and b is the majority of N, then the counts of a and b alone have been in S before N,
and b is ahead at N. For a of probability q and b of probability r that has the probability
g(q, r, 1 - q - r), found by dynamic programming over (n, x, y, which of the two came first). So

    P(stopped early and the answers differ) <= sum over ordered pairs of g(p_a, p_b, 1 - p_a - p_b),

and since the sum over ordered pairs of p_a p_b / (1 - p_a) is at most 1 for every distribution, it
is at most the supremum of g(q, r, s) (1 - q) / (q r).

That supremum is bounded on a mesh without gaps. As polynomials without negative coefficients, g
and h = g / (q r) grow with q, r and s, and their logarithms are convex in the logarithms of q, r, s
(h of degree N - 2). A point P of a convex cell is sum l_i P_i of its corners; the geometric mean G
of the corners with the same weights has log h(G) <= max log h(P_i), and P <= rho G, where rho
bounds arithmetic over geometric means of numbers within the cell's ratio (Specht's ratio). Hence
h(P) <= rho^(N - 2) max h(P_i). Where a cell touches the edge, the vanishing coordinate is raised to
its largest value instead, by monotonicity. The argument is ours.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

_FINE, _FLOOR, _RATIO = 0.002, 0.02, 1.12
"""Cells below the floor are this wide and are raised; above it their ratio is this."""


class Mesh(NamedTuple):
    """Corners of cells that cover all (q, r, s) with q + r + s = 1."""

    corners: Floats
    """[cells, 4, 3]: q, r, s of each corner, raised where the cell touches an edge."""
    rho: Floats
    """[cells]: the bound on arithmetic over geometric means."""
    least: Floats
    """[cells]: the least q."""


@lru_cache(maxsize=1)
def mesh() -> Mesh:
    """Return the mesh in s and t = q / (q + r); lines of constant s or t bound its cells."""
    s = t = _levels()
    q, r = np.outer(1 - s, t), np.outer(1 - s, 1 - t)
    grid = np.stack([q, r, np.broadcast_to(s[:, None], q.shape)], axis=-1)
    corners = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[:-1, 1:], grid[1:, 1:]], axis=2)
    corners = corners.reshape(-1, 4, 3)
    low, high = corners.min(1), corners.max(1)
    small = low < _FLOOR
    ratio = np.where(small, 1.0, high / np.where(small, 1.0, low))
    return Mesh(
        corners=np.where(small[:, None, :], high[:, None, :], corners),
        rho=_specht(ratio.max(1)),
        least=low[:, 0],
    )


def _levels() -> Floats:
    count = math.ceil(math.log(0.5 / _FLOOR) / math.log(_RATIO))
    lower = np.concatenate([np.arange(0.0, _FLOOR, _FINE), np.geomspace(_FLOOR, 0.5, count + 1)])
    return np.concatenate([lower, 1 - lower[-2::-1]])


def _specht(ratio: Floats) -> Floats:
    wide = np.maximum(ratio, 1.0 + 1e-6)
    power = wide ** (1 / (wide - 1))
    return np.maximum(1.0, power / (math.e * np.log(power)))


def error_bound(stops: Bools) -> float:
    """Return a bound on P(stopped early and the answers differ), valid for every distribution.

    Args:
        stops: the rule S, [N + 1, N + 1, N + 1] over (n, x, y).
    """
    cells, samples = mesh(), len(stops) - 1
    points, where = np.unique(cells.corners.reshape(-1, 3), axis=0, return_inverse=True)
    ratio = np.concatenate(
        [pair_error(stops, part) / (part[:, 0] * part[:, 1]) for part in _parts(points)]
    )
    highest = ratio[where.reshape(-1, 4)].max(1)
    bound = cells.rho ** (samples - 2) * highest * (1 - cells.least)
    return min(1.0, float(bound.max()))


def error_seen(stops: Bools) -> float:
    """Return the largest value of the bounded function at a few distributions: never more."""
    t = np.array([0.3, 0.38, 0.42, 0.46, 0.5])
    s = np.array([0.0, 0.05, 0.15, 0.3, 0.45, 0.6, 0.75])
    q, r = np.outer(1 - s, t).ravel(), np.outer(1 - s, 1 - t).ravel()
    points = np.stack([q, r, 1 - q - r], axis=1)
    return float((pair_error(stops, points) / (q * r) * (1 - q)).max())


def _parts(points: Floats) -> list[Floats]:
    return np.array_split(points, max(1, len(points) // 256))


def pair_error(stops: Bools, points: Floats) -> Floats:
    """Return g: that the pair's counts enter S before N with a ahead, and b is ahead at N.

    Args:
        stops: the rule S, [N + 1, N + 1, N + 1] over (n, x, y).
        points: (q, r, s) a row, [points, 3]; they need not sum to 1.
    """
    samples = len(stops) - 1
    q, r, s = points.T
    ends = _ends(samples, points)
    none, error = np.ones(len(q)), np.zeros(len(q))
    alive = np.zeros((2, samples + 1, samples + 1, len(q)))  # a came first, b came first
    for n in range(1, samples):
        size = n + 1
        before = alive[:, :size, :size].copy()
        moved = alive[:, :size, :size]
        moved *= s
        moved[:, 1:] += before[:, :-1] * q
        moved[:, :, 1:] += before[:, :, :-1] * r
        moved[0, 1, 0] += none * q
        moved[1, 0, 1] += none * r
        none = none * s
        x, y = np.nonzero(_reached(stops[n], n))
        need = samples + x - y  # b must gain x - y votes, and one more where a came first
        error += (alive[0, x, y] * ends[samples - n, need + 1]).sum(0)
        error += (alive[1, x, y] * ends[samples - n, need]).sum(0)
        alive[:, x, y] = 0.0
    return error


def _reached(stops: Bools, n: int) -> Bools:
    """Return S at n as the pair sees it: a third answer stands for a rival without votes."""
    x, y = np.indices(stops.shape)
    rival = np.where((y == 0) & (x < n), 1, y)
    reached: Bools = stops[x, rival] & (x > y) & (x + y <= n)
    return reached


def _ends(samples: int, points: Floats) -> Floats:
    """Return [m, N + d, point]: that b gains at least d on a within m samples, |d| <= N + 1."""
    q, r, s = points.T
    found = np.zeros((samples + 1, 2 * samples + 2, len(q)))
    found[0, : samples + 1] = 1.0
    for m in range(1, samples + 1):
        before = found[m - 1]
        found[m] = s * before
        found[m, 1:] += r * before[:-1]
        found[m, :-1] += q * before[1:]
        found[m, 0] += r * (q + r + s) ** (m - 1)
    return found
