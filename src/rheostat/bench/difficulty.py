"""Suite `difficulty`: does a table of samples by difficulty beat one number, the probes charged?

On the recordings of the suite `solve`. Difficulty is what the first samples disagree on; they are
part of every answer. Tables are fitted on half of the questions and judged on the other, both ways,
against fixed numbers of samples at equal mean tokens. Controls: a difficulty by lot, and the one
that is known from all samples and charged to nobody, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.result import envelope
from rheostat.bench.solve_recordings import CORE, MODEL, SAMPLES, SEED, recorded_questions
from rheostat.bench.solve_rules import Figures, against_fixed
from rheostat.kernel.oracle.samples import majority
from rheostat.kernel.policies.compute_optimal import agreement_of_first, fitted_table
from rheostat.stages.replayed import SHIFTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.bench.journal import Journal
    from rheostat.stages.recorded import Recorded

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

STRATEGIES = (1, 2, 4, 8, 12, 16)
"""Numbers of samples to choose from; those under the number of probes are left out."""
PROBES = (2, 4)
BUDGETS = (0.25, 0.375, 0.5, 0.75)
"""Mean tokens of a question, as shares of what all samples take."""
KNOWN = (0.0, 0.25, 0.75)
"""Upper ends of shares of right samples that part the known difficulties, the last one open."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """Every question in every order of its samples."""

    right: Floats
    """Whether the answer of the first n samples is right, [questions, orders, samples]."""
    tokens: Floats
    """What they take, [questions, orders, samples]."""
    probes: Mapping[int, Ints]
    """Difficulty by the first so many samples, [questions, orders]."""
    known: Ints
    """Difficulty by all samples and the right answer, [questions, orders]."""


def bench_difficulty(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Fit and judge tables under a majority and under an exact verifier."""
    result = envelope("difficulty", "is difficulty worth what it costs to know?", seed=SEED)
    questions = [q for q in recorded_questions(say) if q.task in CORE]
    rows: list[dict[str, Any]] = []
    for answer_by in ("majority", "verifier"):
        say(f"tables by difficulty, answers by {answer_by}")
        rows += journal.part(answer_by, partial(judged_tables, questions, answer_by))
    return result | {
        "model": MODEL,
        "questions": len(questions),
        "samples": SAMPLES,
        "orders": SHIFTS,
        "tables": rows,
        "verdict": difficulty_verdict(rows),
    }


def judged_tables(questions: Sequence[Recorded], answer_by: str) -> list[dict[str, Any]]:
    """Return every table against fixed numbers of samples."""
    made = orders_of(questions, verifier=answer_by == "verifier")
    fixed = [_figures(made.right[:, :, n], made.tokens[:, :, n], n + 1) for n in range(SAMPLES)]
    lot = np.random.default_rng(SEED)
    rows = []
    for budget in BUDGETS:
        tokens = budget * float(made.tokens[:, :, -1].mean())
        ways = {f"first {n} samples": (by, n) for n, by in made.probes.items()}
        ways["known"] = (made.known, 1)
        ways["by lot"] = (lot.integers(0, 4, made.known.shape), 1)
        for name, (difficulty, least) in ways.items():
            own = _crossed(made, difficulty, least, tokens)
            rows.append(
                {
                    "answer_by": answer_by,
                    "difficulty": name,
                    "budget": budget,
                    "tokens_per_question": float(own.tokens.mean()),
                    "samples_per_question": float(own.samples.mean()),
                    "accuracy": float(own.right.mean()),
                    "against_fixed": against_fixed(own, fixed),
                }
            )
    return rows


def orders_of(questions: Sequence[Recorded], *, verifier: bool) -> Orders:
    """Return what the first samples come to in every cyclic order."""
    step = max(1, SAMPLES // SHIFTS)
    right, tokens, known = [], [], []
    probes: dict[int, list[list[int]]] = {n: [] for n in PROBES}
    for question in questions:
        answers = [sample.answer for sample in question.ended]
        turned = [_turned(answers, at) for at in range(0, SAMPLES, step)]
        hits = [_turned(question.right, at) for at in range(0, SAMPLES, step)]
        right.append(
            [
                [any(hit[:n]) if verifier else _right(own, hit, n) for n in range(1, SAMPLES + 1)]
                for own, hit in zip(turned, hits, strict=True)
            ]
        )
        spent = [_turned(question.tokens, at) for at in range(0, SAMPLES, step)]
        tokens.append(np.cumsum(spent, axis=1))
        for n, rows in probes.items():
            rows.append([agreement_of_first(own, n) for own in turned])
        share = sum(question.right) / SAMPLES
        known.append([int(np.searchsorted(KNOWN, share, side="left"))] * len(turned))
    return Orders(
        right=np.array(right, dtype=np.float64),
        tokens=np.array(tokens, dtype=np.float64),
        probes={n: np.array(rows) for n, rows in probes.items()},
        known=np.array(known),
    )


def _right(answers: Sequence[str | None], hits: Sequence[bool], samples: int) -> bool:
    chosen = majority(answers[:samples])
    pairs = zip(answers[:samples], hits[:samples], strict=True)
    return any(hit for answer, hit in pairs if answer == chosen is not None)


def _crossed(made: Orders, difficulty: Ints, least: int, tokens: float) -> Figures:
    """Fit a table on one half of the questions, read it on the other, and the other way round."""
    places = [n - 1 for n in STRATEGIES if n >= least]
    right, spent = made.right[:, :, places], made.tokens[:, :, places]
    half = np.arange(len(right)) % 2 == 0
    own_right, own_tokens = np.empty(right.shape[:2]), np.empty(right.shape[:2])
    samples = np.empty(right.shape[:2])
    for fit in (half, ~half):
        table = fitted_table(
            difficulty[fit].ravel(),
            right[fit].reshape(-1, len(places)),
            spent[fit].reshape(-1, len(places)),
            difficulties=int(difficulty.max()) + 1,
            budget=tokens,
        )
        at = np.array(table.strategies)[difficulty[~fit]]
        own_right[~fit] = np.take_along_axis(right[~fit], at[..., None], axis=2)[..., 0]
        own_tokens[~fit] = np.take_along_axis(spent[~fit], at[..., None], axis=2)[..., 0]
        samples[~fit] = np.array(places)[at] + 1
    return Figures(
        tokens=own_tokens.mean(axis=1),
        samples=samples.mean(axis=1),
        agrees=own_right.mean(axis=1),
        right=own_right.mean(axis=1),
    )


def _figures(right: Floats, tokens: Floats, samples: int) -> Figures:
    means = right.mean(axis=1)
    every = np.full(len(means), float(samples))
    return Figures(tokens=tokens.mean(axis=1), samples=every, agrees=means, right=means)


def _turned(values: Sequence[Any], at: int) -> list[Any]:
    return [*values[at:], *values[:at]]


def difficulty_verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A table is worth its probes where it is more accurate than fixed numbers at its tokens."""
    charged = [row for row in rows if row["difficulty"].startswith("first")]
    better = [row for row in charged if row["against_fixed"]["right_interval"][0] > 0]
    worse = [row for row in charged if row["against_fixed"]["right_interval"][1] < 0]
    return {
        "beats_controls": bool(better) and not worse,
        "evidence": f"of {len(charged)} tables with their probes charged {len(better)} are more "
        f"accurate than fixed numbers of samples at equal tokens, {len(worse)} are less",
    }
