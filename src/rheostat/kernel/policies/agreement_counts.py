"""`Agreement` on the counts of all answers, for the N that have sets made in advance.

The whole vector of counts says more than the lead: five votes against rivals that never repeat are
safer than five against two. `agreement_sets.py` holds the sets for some alpha each; an alpha in
between uses the next smaller one. A sample without an answer counts like an answer of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rheostat.kernel.policies.agreement_sets import SETS
from rheostat.kernel.policies.agreement_types import types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rheostat.kernel.policies.stop_rules import Lead

    Counts = tuple[int, ...]


def counts_set(samples: int, alpha: float) -> Mapping[Counts, int] | None:
    """Return how many samples it takes at least from any counts to a stop; 0 = stop there.

    None where no set was made for this N and an alpha of at most the one given.
    """
    made = [level for level in SETS.get(samples, ()) if level <= alpha]
    return _waits(samples, max(made)) if made else None


@lru_cache(maxsize=64)
def stops_at(samples: int, alpha: float) -> frozenset[Counts]:
    """Return the counts, in descending order, at which a set of `SETS` stops."""
    words = SETS[samples][alpha].split()
    return frozenset(tuple(int(digit, 36) for digit in word) for word in words)


@lru_cache(maxsize=64)
def _waits(samples: int, alpha: float) -> Mapping[Counts, int]:
    """Work back from the last sample: one more than the least wait of what may come next.

    What nothing can overtake any more stops too, which never errs, and so do counts that no order
    of samples comes to without a stop before.
    """
    stops = stops_at(samples, alpha)
    found: dict[Counts, int] = dict.fromkeys(types(samples), 0)
    open_still = _open(samples, stops)
    for n in range(samples - 1, -1, -1):
        for counts in types(n):
            further = min(found[after] for after in _next(counts))
            certain = n > 0 and counts[0] - (*counts, 0)[1] > samples - n
            found[counts] = 0 if certain or counts not in open_still else 1 + further
    return found


def _open(samples: int, stops: frozenset[Counts]) -> set[Counts]:
    """Return the counts before N that are come to, and not stopped at."""
    found: set[Counts] = {()}
    newest: set[Counts] = {()}
    for _ in range(1, samples):
        newest = {after for counts in newest for after in _next(counts)} - stops
        found |= newest
    return found


def _next(counts: Counts) -> Iterator[Counts]:
    for i, count in enumerate(counts):
        yield tuple(sorted((*counts[:i], count + 1, *counts[i + 1 :]), reverse=True))
    yield (*counts, 1)


def all_counts(lead: Lead) -> Counts:
    """Return the counts in descending order, those without an answer as answers of their own."""
    answers = tuple(count for count in (lead.first, lead.second, *lead.others) if count)
    return answers + (1,) * (lead.seen - sum(answers))
