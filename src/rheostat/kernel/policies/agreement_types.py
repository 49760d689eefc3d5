"""Bounds the error of stopping rules on counts, for all distributions: by the types of N samples.

Sharper than `agreement_pairs.py`, and for small N alone (16 takes seconds). Given how often each
answer comes among all N samples (their type C, a partition of N), the samples are in random order
whatever the distribution is, so that the rule errs with a probability e(C) that does not depend on
it; dynamic programming finds it exactly. Over all distributions p the error is the polynomial

    E(p) = sum over C of N! / prod(C_i!) e(C) m_C(p),    m_C the monomial symmetric polynomial,

and a number alpha is an upper bound if alpha (sum p)^N - E(p) can be written as a sum of monomials
and of squares (p_i - p_j)^2, (p_i - c sum p)^2, (p_i + p_j - 2 c sum p)^2 times monomials, all with
weights of at least 0. The least such alpha is a linear programme. Any number of answers and answers
that never repeat are included: the identity is one of symmetric functions, and those are limits of
many rare answers. The argument is ours.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Type = tuple[int, ...]
    _Chances = dict[tuple[int | None, int, tuple[tuple[int, int], ...]], float]

CENTRES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.425, 0.45, 0.475, 0.5, 0.525)
"""The c of the squares."""


def types(samples: int, largest: int | None = None) -> Iterator[Type]:
    """Yield the partitions of N in descending order."""
    if samples == 0:
        yield ()
    for part in range(min(samples, largest or samples), 0, -1):
        for rest in types(samples - part, part):
            yield (part, *rest)


def by_counts(stops: Bools) -> frozenset[Type]:
    """Return a rule on the two leading counts as one on all counts.

    Args:
        stops: the rule S, [N + 1, N + 1, N + 1] over (n, x, y) with the rival's y >= 1 where n > x.
    """
    kinds = (kind for n in range(1, len(stops) - 1) for kind in types(n))
    return frozenset(kind for kind in kinds if stops[sum(kind), kind[0], (*kind, 0)[1]])


def type_errors(stops: AbstractSet[Type], samples: int) -> Floats:
    """Return e(C) of every type in the order of `types`, [types].

    Args:
        stops: the counts at which the rule stops, each in descending order and of one leader; a
            sample without an answer counts like an answer nobody else gave.
        samples: N.
    """
    return np.array([type_error(kind, stops) for kind in types(samples)])


def type_error(kind: Type, stops: AbstractSet[Type]) -> float:
    """Return the probability to stop before N on another answer than the majority of this type.

    A state is the drawn count of the majority (None until one of the answers that share the largest
    total came: the first of them is it), its total, and (drawn, total) of the other answers.
    """
    samples, wrong = sum(kind), 0.0
    none = tuple((0, total) for total in kind)
    shared = kind.count(kind[0]) > 1
    states: _Chances = {(None, 0, none) if shared else (0, kind[0], none[1:]): 1.0}
    for n in range(1, samples):
        after: _Chances = defaultdict(float)
        for (own, total, rest), chance in states.items():
            each = chance / (samples - n + 1)
            if own is not None and own < total:
                after[own + 1, total, rest] += each * (total - own)
            for (had, of), alike in Counter(rest).items():
                kept = list(rest)
                kept.remove((had, of))
                ways = each * alike * (of - had)
                if ways and own is None and of == kind[0]:
                    after[1, of, tuple(kept)] += ways
                elif ways:
                    after[own, total, tuple(sorted([*kept, (had + 1, of)]))] += ways
        states = {}
        for state, chance in after.items():
            own = state[0] or 0
            others = [had for had, _ in state[2] if had]
            if tuple(sorted([*others, own] if own else others, reverse=True)) in stops:
                wrong += chance * (max(others, default=0) > own)
            else:
                states[state] = chance
    return wrong


def certified(errors: Floats, samples: int) -> float:
    """Return the least alpha with a certificate, an upper bound on the error of the rule.

    Args:
        errors: e(C) in the order of `types`, [types].
        samples: N.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack

    squares = _squares(samples)
    levels = csr_array(-np.ones((len(errors), 1)))
    cost = np.zeros(squares.shape[1] + 1)
    cost[0] = 1.0
    found = linprog(
        cost, A_ub=hstack([levels, squares]), b_ub=-errors, bounds=(0, None), method="highs-ipm"
    )
    assert found.status == 0, found.message
    # what rounding left unproved is added: with it, every coefficient is 0 or more
    left = errors - found.x[0] + squares @ found.x[1:]
    return float(found.x[0] + max(0.0, left.max()))


@lru_cache(maxsize=4)
def _squares(samples: int) -> Any:
    """Return the squares times monomials, by type: [types, squares], each scaled to 1."""
    from scipy.sparse import csr_array

    place = {kind: i for i, kind in enumerate(types(samples))}
    whole = [math.factorial(samples) / math.prod(map(math.factorial, kind)) for kind in place]
    rows, columns, values = [], [], []
    for column, terms in enumerate(_terms(samples)):
        made: dict[int, float] = defaultdict(float)
        for powers, weight in terms.items():
            kind = tuple(sorted(powers, reverse=True))
            same = math.prod(math.factorial(k) for k in Counter(kind).values())
            made[place[kind]] += weight * same / whole[place[kind]]
        largest = max(abs(value) for value in made.values())
        rows += list(made)
        columns += [column] * len(made)
        values += [value / largest for value in made.values()]
    return csr_array((values, (rows, columns)), shape=(len(place), max(columns, default=-1) + 1))


def _terms(samples: int) -> Iterator[Mapping[Type, float]]:
    """Yield each square times p_i^a p_j^b and other powers, as weights of powers."""
    for rest in range(samples - 3):
        for other in types(rest):
            for a in range(1, samples - 2 - rest):
                b = samples - 2 - rest - a
                pure = {(a + 2, b, *other): 1.0, (a, b + 2, *other): 1.0}
                mixed = (a + 1, b + 1, *other)
                if a >= b:
                    yield _sum((pure, 1.0), ({mixed: 1.0}, -2.0))
                for c in CENTRES:
                    one = _all({(a + 1, b, *other): 1.0})
                    two = _all(_all({(a, b, *other): 1.0}))
                    yield _sum(({(a + 2, b, *other): 1.0}, 1.0), (one, -2 * c), (two, c * c))
                    if a >= b:
                        both = _all({(a + 1, b, *other): 1.0, (a, b + 1, *other): 1.0})
                        square = _sum((pure, 1.0), ({mixed: 1.0}, 2.0))
                        yield _sum((square, 1.0), (both, -4 * c), (two, 4 * c * c))


def _all(terms: Mapping[Type, float]) -> Mapping[Type, float]:
    """Multiply by the sum of all p: one more of a power that is there, or a new answer."""
    found: dict[Type, float] = defaultdict(float)
    for powers, weight in terms.items():
        for i in range(len(powers)):
            found[(*powers[:i], powers[i] + 1, *powers[i + 1 :])] += weight
        found[(*powers, 1)] += weight
    return found


def _sum(*parts: tuple[Mapping[Type, float], float]) -> Mapping[Type, float]:
    found: dict[Type, float] = defaultdict(float)
    for terms, factor in parts:
        for powers, weight in terms.items():
            found[powers] += factor * weight
    return found
