"""Suite `judge`: fits the small judge of unfinished samples, and tests it on other questions.

Pairs of samples of one question that wait at a length, at least one of them unfinished; fitted on
the recordings of the calibration seed, tested on those of the test seed. AUROC is the chance that a
pair of equal answers is thought more alike than one of different answers. The words that two texts
share, by themselves, are the baseline. `workloads/likeness.py` ships weights found
by it; `shipped` says whether they are those of this run.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from rheostat.bench.result import envelope
from rheostat.bench.solve_recordings import (
    CALIBRATION_SEED,
    CORE,
    MODEL,
    SEED,
    recorded_questions,
)
from rheostat.bench.solve_world import so_far
from rheostat.methods.sample.deepprune import DeepPrune
from rheostat.workloads.answers import AnswerKind, answer_in
from rheostat.workloads.likeness import WEIGHTS, Likeness, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.stages.recorded import Recorded
    from rheostat.workloads.likeness import Weights

    Pair = tuple[str, str, bool]

LENGTHS = (8, 16, 24)


def bench_judge(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Fit at the length of `deepprune`, test at several."""
    result = envelope("judge", "do unfinished samples show that they will end alike?", seed=SEED)
    learn, test = (
        [question for question in recorded_questions(say, seed=seed) if question.task in CORE]
        for seed in (CALIBRATION_SEED, SEED)
    )
    say("fitting")
    judge = reader()
    pairs = list(waiting_pairs(learn, DeepPrune().length))
    weights = fit(judge, pairs)
    tested = {str(n): _tested(weights, list(waiting_pairs(test, n))) for n in LENGTHS}
    return result | {
        "model": MODEL,
        "calibration_seed": CALIBRATION_SEED,
        "length": DeepPrune().length,
        "pairs": len(pairs),
        "alike": float(np.mean([same for *_, same in pairs])),
        "weights": weights._asdict(),
        "shipped": weights == WEIGHTS,
        "tested": tested,
    }


def reader(weights: Weights = WEIGHTS) -> Likeness:
    """Return the judge of tasks whose answers are numbers."""
    return Likeness(partial(answer_in, kind=AnswerKind("number")), weights)


def waiting_pairs(questions: Sequence[Recorded], tokens: int) -> Iterator[Pair]:
    """Yield texts so far of pairs of which one is unfinished, and whether they end alike."""
    for question in questions:
        for one, other in combinations(question.ended, 2):
            if max(one.tokens, other.tokens) > tokens and None not in (one.answer, other.answer):
                yield so_far(one, tokens), so_far(other, tokens), one.answer == other.answer


def _tested(weights: Weights, pairs: Sequence[Pair]) -> dict[str, Any]:
    judge = reader(weights)
    alike = np.array([same for *_, same in pairs])
    said = np.array([judge.probability(one, other) for one, other, _ in pairs])
    words = np.array([judge.features(one, other)[3] for one, other, _ in pairs])
    joined = said >= 0.5
    return {
        "pairs": len(pairs),
        "alike": float(alike.mean()),
        "auroc": auroc(said, alike),
        "auroc_of_shared_words": auroc(words, alike),
        "alike_among_joined": float(alike[joined].mean()) if joined.any() else None,
        "joined": float(joined.mean()),
    }


def auroc(value: Any, positive: Any) -> float:
    """Return P(a positive has the higher value), ties half, from two arrays of one length."""
    ranks, yes = rankdata(value), np.asarray(positive).astype(bool)
    ups, downs = int(yes.sum()), int((~yes).sum())
    return float((ranks[yes].sum() - ups * (ups + 1) / 2) / (ups * downs))
