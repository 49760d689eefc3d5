"""Adaptive weighted rejection sampling (AWRS, arXiv 2504.05410): a valid token after few checks.

Tokens are checked in an order drawn without replacement from a law p, which is that of rising
E_i / p_i with E_i ~ Exponential(1), or of falling Gumbel keys log p_i + G_i. The first valid token
has the law p restricted to valid tokens and renormalised (the *improper* draw). A weight w with
E[w 1[x = i]] = p_i valid_i, so that E[w] = Z, the valid mass, takes a few checks more:
  recursive  x was accepted after rejected mass R, y_1 .. y_m come next in the order:
             w = p_x + sum_{j<m} p_{y_j} valid_{y_j} + (what is left of 1) valid_{y_m};
             for m = 1 that is the paper's 1 - R if y_1 is valid, else p_x
  geometric  draws with replacement, whose repeats of rejected tokens are not checked but counted
             as Geometric(1 - R) - 1 at once: w = (k - 1) / (k + rejects - 1) after k accepts
Nothing valid is weight 0. A law that does not sum to 1, such as one pruned before, is taken as it
is: weights then count its own mass.

Ours: m > 1, from blocks. The order is checked `block` tokens at a time, so that block 1 is the
paper's and a block of the whole vocabulary is full masking, with the exact weight; a token drawn
twice is checked once; what is left of 1 is summed over the tokens themselves, so that it does not
round to 0 when nearly all mass was rejected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rheostat.kernel.constraint import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Check = Callable[[int], bool]
"""Whether a token may come next."""
PEAKED = 2 / 3
"""Share of the likeliest token from which on the geometric estimator saves a check."""
_PLAIN_DRAWS = 32
_FIRST_WIDTH, _WIDER = 16, 8


class Tried(NamedTuple):
    """A token that was checked."""

    token: int
    valid: bool


def likeliest(scores: Floats, check: Check, *, block: int = 1) -> Taken:
    """Return the valid token of the largest score; ties go to the lower id.

    Args:
        scores: [vocabulary]; -inf = impossible, never checked.
        check: whether a token may come next.
        block: tokens that are checked together.
    """
    tried = _tried(_rising(-scores), check, block)
    return Taken(_first(tried), 0.0, len(tried))


def improper(law: Floats, check: Check, rng: np.random.Generator, *, block: int = 1) -> Taken:
    """Draw from the law restricted to valid tokens; the weight is 1."""
    tried = _tried(_drawn(law, rng), check, block)
    return Taken(_first(tried), 0.0, len(tried))


def recursive(law: Floats, check: Check, rng: np.random.Generator, *, block: int = 1) -> Taken:
    """Draw a valid token and weigh it by the mass behind it in the drawn order."""
    order = _drawn(law, rng)
    tried = _tried(order, check, block)
    token = _first(tried)
    if token is None:
        return _nothing(len(tried))
    if tried[-1].token == token:  # the weight takes one check behind the accepted token
        tried += [Tried(t, check(t)) for t in islice(order, 1)]
    tokens = np.array([t.token for t in tried])
    valid = np.array([t.valid for t in tried])
    before = tokens[:-1]
    weight = law[before][valid[:-1]].sum() + _left(law, before) * valid[-1]
    return Taken(token, math.log(weight), len(tried))


def geometric(
    law: Floats, check: Check, rng: np.random.Generator, *, max_accepts: int = 2
) -> Taken:
    """Draw a valid token and weigh it by the rejects until `max_accepts` (over 1) accepts."""
    known: dict[int, bool] = {}
    rejects, rest = 0, law.copy()
    total = left = exact = float(law.sum())
    token: int | None = None
    for _ in range(max_accepts):
        for candidate in _drawn(rest, rng):
            rejects += int(rng.geometric(min(1.0, left / total))) - 1
            if candidate not in known:
                known[candidate] = check(candidate)
            if known[candidate]:
                token = candidate if token is None else token
                break
            rejects += 1
            rest[candidate] = 0.0
            left -= law[candidate]
            if left < exact / 2:  # before the differences lose their digits
                left = exact = float(rest.sum())
        else:
            return _nothing(len(known))
    share = (max_accepts - 1) / (max_accepts + rejects - 1)
    return Taken(token, math.log(share) + math.log(total), len(known))


def weighted(
    law: Floats,
    check: Check,
    rng: np.random.Generator,
    *,
    block: int = 1,
    max_accepts: int = 2,
) -> Taken:
    """Draw and weigh by the estimator that the paper's code takes for this law."""
    peaked = law.max() >= PEAKED * law.sum()
    if block == 1 and (max_accepts > 2 or peaked):
        return geometric(law, check, rng, max_accepts=max_accepts)
    return recursive(law, check, rng, block=block)


def _nothing(checks: int) -> Taken:
    return Taken(None, -math.inf, checks)


def _first(tried: list[Tried]) -> int | None:
    return next((token for token, valid in tried if valid), None)


def _tried(order: Iterator[int], check: Check, block: int) -> list[Tried]:
    """Check blocks of the order until one holds a valid token."""
    tried: list[Tried] = []
    while part := list(islice(order, block)):
        tried += [Tried(token, check(token)) for token in part]
        if any(valid for _, valid in tried[-len(part) :]):
            break
    return tried


def _left(law: Floats, taken: NDArray[np.int64]) -> float:
    """Return the mass of all other tokens."""
    rest = law.copy()
    rest[taken] = 0.0
    return float(rest.sum())


def _drawn(law: Floats, rng: np.random.Generator) -> Iterator[int]:
    """Yield the tokens of positive probability in an order drawn without replacement.

    The first few are drawn with replacement, and those that came before are passed over, which is
    the same order and saves the keys of a whole vocabulary.
    """
    ends = law.cumsum()
    seen: list[int] = []
    for _ in range(_PLAIN_DRAWS):
        token = int(ends.searchsorted(rng.random() * ends[-1], side="right"))
        if token < law.size and token not in seen:  # at the very end nothing is drawn
            seen.append(token)
            yield token
    rest = law.copy()
    rest[seen] = 0.0
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        keys = rng.standard_exponential(law.size) / rest
    # a denormal probability may give an infinite key too: it comes last, but it comes
    yield from _rising(np.where(rest > 0, np.minimum(keys, np.finfo(np.float64).max), np.inf))


def _rising(keys: Floats) -> Iterator[int]:
    """Yield the indices of finite keys, smallest first, sorting no more than asked for."""
    if not keys.size or keys.min() == np.inf:
        return
    first = int(keys.argmin())
    yield first
    done, width = 1, _FIRST_WIDTH
    while True:
        if width < keys.size:
            border = np.partition(keys, width - 1)[width - 1]
            near = np.flatnonzero(keys <= min(border, np.finfo(np.float64).max))
        else:
            near = np.flatnonzero(keys < np.inf)
        ordered = near[np.argsort(keys[near], kind="stable")]
        yield from ordered[done:].tolist()
        if width >= keys.size:
            return
        done, width = len(ordered), width * _WIDER
