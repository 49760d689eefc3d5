"""Suite `controls`: rules that prune, ask, hedge or cut, beside chance and constants at equal cost.

On recorded samples, so that all see the same ones. `deepprune` (with its own judge, one that draws
lots and one that knows), `self_evaluation` (the model's forced answer about each sample) and
`hedged` (a greedy sample in the pool) are held against fixed numbers of samples and against
stopping by lot; the cuts of the seam `stop` against fixed and random lengths.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.judge import auroc, reader
from rheostat.bench.result import envelope
from rheostat.bench.solve import by_lot, decision
from rheostat.bench.solve_extras import PROBED, first_samples, greedy_samples, probed
from rheostat.bench.solve_recordings import CORE, MODEL, SAMPLES, SEED, recorded_questions
from rheostat.bench.solve_rules import (
    against,
    against_fixed,
    compared,
    figures,
    first_votes,
    hindsight,
    verdict,
)
from rheostat.bench.solve_world import Known, acted
from rheostat.bench.stop_controls import stop_controls
from rheostat.stages.replayed import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.bench.solve_world import Judge, Probes
    from rheostat.kernel.samples import Ended
    from rheostat.stages.recorded import Recorded
    from rheostat.stages.replayed import Drawn

    Rule = Callable[[Sequence[Ended], str], Drawn]

HEDGED_DIALS = (0.0, 0.25, 0.5, 0.75)
PRUNED_DIALS = {
    "own judge": (0.5, 0.6, 0.75, 0.8, 1.0),
    "lots": (0.25, 0.5, 0.75, 1.0),
    "knows": (0.5,),
}
"""Where each judge makes a difference: the own one never says more than 0.45 or less than 0.13, one
that knows says 0 or 1."""
ASKED_DIALS = (0.1, 0.3, 0.5, 0.7, 0.9)
PROBED_SHARE = 2
"""One of so many questions is probed."""


def bench_controls(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Replay each method and its controls."""
    result = envelope(
        "controls", "do pruning, asking, hedging and cutting beat chance at equal cost?", seed=SEED
    )
    core = [question for question in recorded_questions(say) if question.task in CORE]
    found = {
        "deepprune": journal.part("deepprune", partial(_deepprune, core, say)),
        "self_evaluation": journal.part("self_evaluation", partial(_asked, core, say)),
        "hedged": journal.part("hedged", partial(_hedged, core, say)),
    }
    cuts = journal.part("stop", partial(stop_controls, say))
    verdicts = {name: _verdict(part) for name, part in found.items()}
    return result | {
        "model": MODEL,
        "samples": SAMPLES,
        "probed_samples": PROBED,
        **found,
        "stop": cuts["rows"],
        "stop_sampling": cuts["sampling"],
        "verdicts": verdicts | cuts["verdicts"],
    }


def judges() -> dict[str, Judge]:
    """Return who tells deepprune that two samples will end alike, by name."""
    own = reader()
    return {
        "own judge": lambda one, a, other, b: own.probability(a, b),
        "lots": lambda one, a, other, b: seed_of(f"{one.logprobs} {other.logprobs}") / 2**32,
        "knows": lambda one, a, other, b: float(one.answer == other.answer),
    }


def _deepprune(questions: Sequence[Recorded], say: Callable[[str], None]) -> dict[str, Any]:
    say("pruning")
    rows = {
        f"{name}, {dial:g}": _pruning(dial, judge)
        for name, judge in judges().items()
        for dial in PRUNED_DIALS[name]
    }
    return _held_against(rows, "own judge, 0.5", questions)


def _pruning(dial: float, judge: Judge) -> Rule:
    policy = decision("deepprune", dial)
    return lambda ended, name: acted(policy, Known(ended=ended, judge=judge), name=name)


def _asked(questions: Sequence[Recorded], say: Callable[[str], None]) -> dict[str, Any]:
    """Let the model judge the first samples of some questions."""
    some = [first_samples(question, PROBED) for question in questions[::PROBED_SHARE]]
    probes = probed(some, say)
    by_question = {question.id: probes[question.id] for question in some}
    rows = {f"own probes, {dial:g}": _asking(dial, by_question) for dial in ASKED_DIALS}
    return _held_against(rows, "own probes, 0.3", some) | {"probe": _of_probe(some, by_question)}


def _asking(dial: float, probes: Mapping[str, Mapping[str, Probes]]) -> Rule:
    policy = decision("self_evaluation", dial)

    def rule(ended: Sequence[Ended], name: str) -> Drawn:
        said = probes[name.rpartition(", from ")[0]]
        return acted(policy, Known(ended=ended, probes=said), name=name)

    return rule


def _of_probe(
    questions: Sequence[Recorded], probes: Mapping[str, Mapping[str, Probes]]
) -> dict[str, Any]:
    """Does the forced answer know which samples are right?"""
    said = [
        (probes[question.id][ended.text].first, right)
        for question in questions
        for ended, right in zip(question.ended, question.right, strict=True)
    ]
    value, right = (np.array(column, dtype=float) for column in zip(*said, strict=True))
    rate = right.mean()
    return {
        "samples": len(said),
        "auroc": auroc(value, right),
        "brier": float(((value - right) ** 2).mean()),
        "brier_of_constant": float(rate * (1 - rate)),
    }


def _hedged(questions: Sequence[Recorded], say: Callable[[str], None]) -> dict[str, Any]:
    greedy = {question.id: question for question in greedy_samples(CORE, say)}
    rows = {f"own pool, {dial:g}": _hedging(dial, greedy) for dial in HEDGED_DIALS}
    both = [judged_with(question, greedy[question.id]) for question in questions]
    return _held_against(rows, "own pool, 0", both)


def _hedging(dial: float, greedy: Mapping[str, Recorded]) -> Rule:
    policy = decision("hedged", dial)

    def rule(ended: Sequence[Ended], name: str) -> Drawn:
        first = greedy[name.rpartition(", from ")[0]].ended[0]
        return acted(policy, Known(ended=ended, greedy=first), name=name)

    return rule


def judged_with(question: Recorded, other: Recorded) -> Recorded:
    """Return a question that knows whether the answers of its other samples are right, too."""
    answers = (sample.answer for sample in other.ended)
    return replace(question, besides=tuple(zip(answers, other.right, strict=True)))


def _held_against(
    rules: Mapping[str, Rule], usual: str, questions: Sequence[Recorded]
) -> dict[str, Any]:
    """Compare rules with all samples, fixed numbers, and lots at equal tokens."""
    samples = len(questions[0].ended)
    fixed = [figures(first_votes(n), questions) for n in range(1, samples + 1)]
    whole, oracle = fixed[-1], figures(hindsight, questions)
    rows = {}
    for name, rule in rules.items():
        own = figures(rule, questions)
        rows[name] = compared(own, whole, oracle) | {
            "against_fixed": against_fixed(own, fixed),
            "against_lots": against(own, by_lot(own, whole, questions)),
        }
    return {"usual": usual, "majority": compared(whole, whole, oracle), "rows": rows}


def _verdict(part: Mapping[str, Any]) -> dict[str, Any]:
    row = part["rows"][part["usual"]]
    return verdict(row["against_fixed"], row["against_lots"])
