"""Suite `verify`: another sample, or a verification of one? Votes against GenRM at equal cost.

S samples with V verifications each cost S (1 + lambda V) samples (arXiv:2504.01005), lambda the
tokens of a verification over those of a sample; the score of a sample is its mean verdict, and
answers are voted for with scores as weights or taken from the best sample. Verdicts are simulated
at set accuracies, and written by the model itself. What V = 0 votes of as many tokens find is the
baseline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.result import envelope
from rheostat.bench.solve_extras import VERIFICATIONS, VERIFIED_SHARE, critiques
from rheostat.bench.solve_recordings import CORE, MODEL, SAMPLES, SEED, recorded_questions
from rheostat.bench.solve_rules import paired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rheostat.bench.journal import Journal
    from rheostat.stages.recorded import Recorded

    Floats = NDArray[np.float64]
    Scores = Callable[[Recorded, np.random.Generator], Floats]
    """Mean verdicts of a question's samples, [samples]."""

ACCURACIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
PRICES = (0.25, 1.0)
"""lambda of simulated verifiers."""
SHARES = ((12, 1), (8, 1), (8, 2), (6, 1), (5, 2), (4, 1), (4, 2), (4, 3), (3, 4), (2, 4))
"""(S, V) that are tried."""
ORDERS = 60
VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
WRITTEN_SHARES = ((2, 1), (4, 1), (8, 1), (2, 2), (4, 2), (8, 2))


@dataclass(frozen=True, kw_only=True)
class Split:
    """A way to spend tokens."""

    samples: int
    verifications: int

    def cost(self, price: float) -> float:
        """Return its cost in samples, at lambda = price."""
        return self.samples * (1 + price * self.verifications)


def bench_verify(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Simulate verifiers, then let the model be one."""
    result = envelope("verify", "another sample, or a verification of one?", seed=SEED)
    core = [question for question in recorded_questions(say) if question.task in CORE]
    simulated = []
    for price in PRICES:
        for accuracy in ACCURACIES:
            say(f"verifying at accuracy {accuracy:g} and {price:g} of a sample's tokens")
            made = partial(_simulated, core, accuracy, price)
            simulated.append(journal.part(f"{accuracy}, {price}", made))
    return result | {
        "model": MODEL,
        "questions": len(core),
        "orders": ORDERS,
        "votes": {str(n): float(votes(core, n).mean()) for n in (1, 2, 4, 8, 12, SAMPLES)},
        "simulated": simulated,
        "least_accuracy_that_pays": {str(price): _least(simulated, price) for price in PRICES},
        "own": journal.part("own", partial(_written, core, say)),
    }


def votes(questions: Sequence[Recorded], samples: float) -> Floats:
    """Return the share of orders in which the majority of so many samples is right, [questions].

    A number between two whole ones is the mixture of both.
    """
    below = min(int(samples), SAMPLES)
    share = min(samples, SAMPLES) - below
    found = judged(questions, Split(samples=below, verifications=0), _alike)
    if share > 0:
        more = judged(questions, Split(samples=below + 1, verifications=0), _alike)
        found = (1 - share) * found + share * more
    return found


def _alike(question: Recorded, rng: np.random.Generator) -> Floats:
    return np.ones(len(question.ended))


def judged(
    questions: Sequence[Recorded], split: Split, scores: Scores, *, best: bool = False
) -> Floats:
    """Return the share of orders in which the chosen answer is right, [questions].

    Args:
        best: take the answer of the best sample instead of the weighted vote.
    """
    shares = []
    for number, question in enumerate(questions):
        rng, right = np.random.default_rng([SEED, number]), 0
        for _ in range(ORDERS):
            first = rng.permutation(len(question.ended))[: split.samples].tolist()
            right += _chosen_right(question, first, scores(question, rng), best=best)
        shares.append(right / ORDERS)
    return np.array(shares)


def _chosen_right(question: Recorded, first: Sequence[int], score: Floats, *, best: bool) -> bool:
    weights: dict[str, float] = {}
    for i in first:
        answer = question.ended[i].answer
        if answer is not None:
            so_far = weights.get(answer, 0.0)
            weights[answer] = max(so_far, score[i]) if best else so_far + score[i]
    if not weights:
        return False
    return question.right_answer(max(weights, key=weights.__getitem__))


def _simulated(questions: Sequence[Recorded], accuracy: float, price: float) -> dict[str, Any]:
    """Try every split with a verifier of an accuracy; the best one against votes of its cost."""
    rows = []
    for samples, verifications in SHARES:
        split = Split(samples=samples, verifications=verifications)
        if split.cost(price) <= SAMPLES:
            scores = partial(_flipped, accuracy=accuracy, verdicts=verifications)
            base = votes(questions, split.cost(price))
            rows.append(_against_votes(questions, split, scores, base))
    best = max(rows, key=lambda row: row["right"]["right"])
    return {"accuracy": accuracy, "price": price, "best": best}


def _flipped(
    question: Recorded, rng: np.random.Generator, *, accuracy: float, verdicts: int
) -> Floats:
    chance = np.where(np.array(question.right), accuracy, 1 - accuracy)
    return np.asarray(rng.binomial(verdicts, chance) / verdicts)


def _against_votes(
    questions: Sequence[Recorded], split: Split, scores: Scores, base: Floats
) -> dict[str, Any]:
    """Compare a split with plain votes at its cost."""
    found: dict[str, Any] = {"samples": split.samples, "verifications": split.verifications}
    for name, best in (("weighted_vote", False), ("best_sample", True)):
        own = judged(questions, split, scores, best=best)
        found[name] = {"right": float(own.mean())} | paired(own - base, "over_votes")
    found["right"] = max((found["weighted_vote"], found["best_sample"]), key=lambda r: r["right"])
    return found | {"votes_right": float(base.mean())}


def _least(cells: Sequence[dict[str, Any]], price: float) -> float | None:
    """Return the least accuracy at which verifying pays for sure."""
    pays = [
        cell["accuracy"]
        for cell in cells
        if cell["price"] == price and cell["best"]["right"]["over_votes_interval"][0] > 0
    ]
    return min(pays, default=None)


def verdict_in(text: str) -> float | None:
    """Return 1 or 0 for the last yes or no of a text; None = it says neither."""
    said = VERDICT.findall(text)
    return float(said[-1].lower() == "yes") if said else None


def _written(questions: Sequence[Recorded], say: Callable[[str], None]) -> dict[str, Any]:
    """Let the model verify its own samples in words."""
    made = critiques(questions, say)
    some = made.questions
    said = {key: [verdict_in(text) for text in texts] for key, texts in made.texts.items()}
    price = made.new_tokens / made.solution_tokens

    def scores(verdicts: int, question: Recorded, rng: np.random.Generator) -> Floats:
        of_each = [
            [v or 0.0 for v in said[question.id, i][:verdicts]] for i in range(len(question.ended))
        ]
        return np.asarray(np.mean(np.array(of_each), axis=1))

    rows = []
    for samples, verifications in WRITTEN_SHARES:
        split = Split(samples=samples, verifications=min(verifications, VERIFICATIONS))
        cost = split.cost(price)
        base = votes(questions[::VERIFIED_SHARE], cost)
        row = _against_votes(some, split, partial(scores, split.verifications), base)
        rows.append(row | {"cost": cost, "votes": min(cost, SAMPLES)})
    pairs = [
        (verdict, right)
        for question in some
        for i, right in enumerate(question.right)
        for verdict in said[question.id, i]
        if verdict is not None
    ]
    value, right = np.array(pairs, dtype=float).T
    return {
        "questions": len(some),
        "tokens_of_a_verification_over_a_sample": price,
        "prompt_tokens_of_a_verification": made.prompt_tokens,
        "without_verdict": sum(v is None for vs in said.values() for v in vs)
        / sum(map(len, said.values())),
        "yes": float(value.mean()),
        "accuracy": float((value == right).mean()),
        "accuracy_on_right": float(value[right == 1].mean()),
        "accuracy_on_wrong": float(1 - value[right == 0].mean()),
        "splits": rows,
    }
