"""Writes `kernel/policies/agreement_sets.py`: the states at which `agreement` stops, for small N.

    python benchmarks/agreement_sets.py --sizes 16 --alphas 0.05     one of them, about a minute

The error of a rule that stops on whole counts is linear in the shares of sequences that stop at
each state, and so are the samples it takes on average and the condition of the certificate
(`agreement_types.py`). The best rule is therefore one linear programme; it is rounded to states at
which every sequence stops or none, and what is found is certified anew, ties by order of launch
included. What it is best for is a guess at what questions are like: shares of 5 to 19 answers from
Dirichlet laws of concentration 0.1, 0.3 and 1. The promise holds whatever they are like.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path
from textwrap import wrap

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack

from rheostat.kernel.policies.agreement_sets import SETS
from rheostat.kernel.policies.agreement_types import _squares, certified, type_errors, types

SIZES, ALPHAS = (8, 12, 16), (0.01, 0.02, 0.05, 0.1, 0.2)
QUESTIONS = 6000
MOST_ADDED = 40
HOME = Path(__file__).parents[1] / "src/rheostat/kernel/policies/agreement_sets.py"


def states_of(samples):
    return [kind for n in range(1, samples) for kind in types(n)]


def may_stop(kind):
    return kind[0] >= 2 and kind[0] > (*kind, 0)[1]


def less(kind, part):
    """Counts with one vote of an answer of `part` votes less."""
    left = list(kind)
    left.remove(part)
    return tuple(sorted([*left, part - 1] if part > 1 else left, reverse=True))


class Problem:
    """The linear programme of one N; u(state) is the share of its sequences that have not stopped."""

    def __init__(self, samples):
        self.samples = samples
        self.states = states_of(samples)
        self.place = {kind: i for i, kind in enumerate(self.states)}
        self.flow = self._flow()
        self.reached, self.wrong = self._of_types()
        self.questions = self._questions()

    def _flow(self):
        """u(state) = sum of parts/n u(state with one vote less), as I u - F u_going = start."""
        entries = [
            (i, self.place[less(kind, part)], alike * part / sum(kind))
            for i, kind in enumerate(self.states)
            for part, alike in Counter(kind).items()
            if sum(kind) > 1
        ]
        return self._matrix(entries, len(self.states))

    def _matrix(self, entries, rows):
        row, column, value = zip(*entries, strict=True)
        return csr_array((value, (row, column)), shape=(rows, len(self.states)))

    def _of_types(self):
        """P(counts at n | type), and that x P(the leader then is not the majority of N).

        Of answers that share the largest total, one that was drawn c times is the first with a
        chance in proportion to c: true of all sequences, nearly true of those not yet stopped.
        """
        reached, wrong = [], []
        for row, kind in enumerate(types(self.samples)):
            now = {tuple((0, total) for total in sorted(kind)): 1.0}
            for n in range(1, self.samples):
                then = defaultdict(float)
                for state, chance in now.items():
                    for (had, of), alike in Counter(state).items():
                        if of > had:
                            rest = list(state)
                            rest.remove((had, of))
                            key = tuple(sorted([*rest, (had + 1, of)]))
                            then[key] += chance * alike * (of - had) / (self.samples - n + 1)
                now = then
                for state, chance in now.items():
                    counts = tuple(sorted((had for had, _ in state if had), reverse=True))
                    reached.append((row, self.place[counts], chance))
                    had, of = max(state)
                    tied = sum(h for h, o in state if o == kind[0])
                    error = 1.0 if of < kind[0] else 1 - had / tied
                    if error > 0 and may_stop(counts):
                        wrong.append((row, self.place[counts], chance * error))
        rows = len(list(types(self.samples)))
        return self._matrix(reached, rows), self._matrix(wrong, rows)

    def _questions(self):
        """How often each type comes among questions as we guess them to be."""
        rng = np.random.default_rng(1)
        place = {kind: i for i, kind in enumerate(types(self.samples))}
        found = np.zeros(len(place))
        for _ in range(QUESTIONS):
            shares = rng.dirichlet(np.full(rng.integers(5, 20), rng.choice([0.1, 0.3, 1.0])))
            votes = rng.multinomial(self.samples, shares)
            found[place[tuple(sorted((int(v) for v in votes if v), reverse=True))]] += 1
        return found / found.sum()

    def best(self, alpha):
        """Return which share of the sequences at each state stops there, at best."""
        squares, count = _squares(self.samples), len(self.states)
        rows, none = len(self.questions), csr_array
        cost = np.concatenate([self.questions @ self.reached, np.zeros(count + squares.shape[1])])
        start = np.zeros(count)
        start[self.place[(1,)]] = 1.0
        one = csr_array(eye_array(count))
        found = linprog(
            cost,
            A_ub=hstack([none((rows, count)), self.wrong, squares]).tocsr(),
            b_ub=np.full(rows, alpha),
            A_eq=hstack([one - self.flow, one, none((count, squares.shape[1]))]).tocsr(),
            b_eq=start,
            bounds=[(0, None)] * count
            + [(0, None if may_stop(kind) else 0) for kind in self.states]
            + [(0, None)] * squares.shape[1],
            method="highs-ipm",
        )
        going, stopping = found.x[:count], found.x[count : 2 * count]
        there = going + stopping
        return np.where(there > 1e-9, stopping / np.maximum(there, 1e-12), 0.0)

    def samples_taken(self, stops):
        going = np.zeros(len(self.states))
        for i, kind in enumerate(self.states):
            into = 1.0 if i == 0 else (self.flow[[i]] @ going)[0]
            going[i] = 0.0 if kind in stops else into
        return 1 + float((self.questions @ self.reached) @ going)

    def bound(self, stops):
        return certified(type_errors(stops, self.samples), self.samples)

    def rounded(self, alpha):
        """Round the programme's solution at several errors, then add what still fits."""
        best = frozenset()
        for aim in alpha * np.array([0.75, 0.85, 0.92, 1.0, 1.06]):
            shares = self.best(aim)
            for level in (0.3, 0.5, 0.7):
                stops = frozenset(
                    k for k, share in zip(self.states, shares, strict=True) if share > level
                )
                if self.bound(stops) <= alpha:
                    best = min(best, stops, key=self.samples_taken)
        return self._grown(best, alpha)

    def _grown(self, stops, alpha):
        shares = self.best(alpha * 1.2)
        order = sorted(zip(shares, self.states, strict=True), key=lambda pair: -pair[0])
        tried = [kind for share, kind in order if share > 0.01 and kind not in stops][:MOST_ADDED]
        for kind in tried:
            if (
                self.samples_taken(stops | {kind}) < self.samples_taken(stops)
                and self.bound(stops | {kind}) <= alpha
            ):
                stops |= {kind}
        return self._reachable(stops)

    def _reachable(self, stops):
        """Leave out states that no sequence comes to."""
        going, kept = set(), set()
        for i, kind in enumerate(self.states):
            if i == 0 or any(less(kind, part) in going for part in set(kind)):
                (kept if kind in stops else going).add(kind)
        return frozenset(kept)


DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
HEAD = '''"""Counts at which `agreement` stops, by N and alpha: written by `benchmarks/agreement_sets.py`.

A word is the counts of the answers in descending order, one digit each (a = 10, ...). Each set has
a certificate by types (`agreement_types.py`), which the tests work out again.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SETS: Mapping[int, Mapping[float, str]] = MappingProxyType(
    {
'''


def words_of(stops):
    return [
        "".join(DIGITS[part] for part in kind) for kind in sorted(stops, key=lambda k: (sum(k), k))
    ]


def written(found):
    lines = [HEAD]
    for samples, sets in sorted(found.items()):
        lines.append(f"        {samples}: MappingProxyType(\n            {{\n")
        for alpha, words in sorted(sets.items()):
            rows = wrap(" ".join(words), width=74, break_on_hyphens=False)
            joined = "\n".join(f'                "{row} "' for row in rows)
            lines.append(
                f"                {alpha}: (\n{joined.replace(chr(10), chr(10) + '    ').replace('                ', '                    ', 1)}\n                ),\n"
            )
        lines.append("            }\n        ),\n")
    return "".join(lines) + "    }\n)\n"


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    asked.add_argument("--alphas", type=float, nargs="*", default=list(ALPHAS))
    options = asked.parse_args()
    found = {n: {a: words.split() for a, words in sets.items()} for n, sets in SETS.items()}
    for samples in options.sizes:
        problem = Problem(samples)
        for alpha in options.alphas:
            stops = problem.rounded(alpha)
            found.setdefault(samples, {})[alpha] = words_of(stops)
            share = problem.samples_taken(stops) / samples
            print(
                f"N {samples}, alpha {alpha}: {len(stops)} states, {share:.3f} of N, error {problem.bound(stops):.4f}",
                flush=True,
            )
            HOME.write_text(written(found), encoding="utf-8")


if __name__ == "__main__":
    main()
