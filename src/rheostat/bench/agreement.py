"""Suite `agreement`: how often does stopping early change the majority of N, and what does it save?

Scripted distributions of answers, 10,000 runs each, the same draws for every rule. Rules of ours
decide on the prefix in launch order, so that no order of completion can change them; that is
checked with the state machine itself. its-hub's rules stand beside them. The distributions that
are worst for `agreement` are searched for, and judged on fresh draws.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.agreement_runs import (
    Stopped,
    adaptive,
    completed,
    counted,
    drawn,
    raced,
    stopped,
)
from rheostat.bench.result import envelope
from rheostat.kernel.policies.agreement import Agreement
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.stop_rules import (
    BetaPosterior,
    Counted,
    LeadMargin,
    Overtaken,
    Share,
)
from rheostat.kernel.samples import Ended, Finish, Launch, Opened, SampleStart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.bench.agreement_runs import Counts
    from rheostat.bench.journal import Journal
    from rheostat.kernel.policies.stop_rules import Enough

SEED = 700000
RUNS = 10_000
SIZES = (16, 64)
ALPHA = 0.05
SEARCHED = 1_000
SEARCH_RUNS = 1_000
ORDERS = ("launch", "even", "wrong first")
MACHINE_RUNS = 100
"""Runs of the state machine under each order of completion."""
SHARES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        ".90 .05 .05": (0.9, 0.05, 0.05),
        ".50 .30 .20": (0.5, 0.3, 0.2),
        ".45 .40 .15": (0.45, 0.4, 0.15),
        ".30 .20 .20 .10 .10 .10": (0.3, 0.2, 0.2, 0.1, 0.1, 0.1),
        "two equal modes": (0.5, 0.5),
    }
)
OURS: Mapping[str, Enough] = MappingProxyType(
    {
        "agreement": Agreement(alpha=ALPHA),
        "overtaken": Overtaken(dial=1e-9),
        "lead_margin": LeadMargin(margin=3, dial=1.0),
        "beta_posterior": BetaPosterior(threshold=1 - ALPHA),
        "share": Share(dial=0.25, least=4),
    }
)


def bench_agreement(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Simulate every distribution, then search for the worst."""
    result = envelope("agreement", "does stopping early change the answer?", seed=SEED)
    cells = []
    for samples in SIZES:
        for name, shares in SHARES.items():
            say(f"N = {samples}, {name}")
            made = partial(agreement_cell, name, shares, samples, runs=RUNS)
            cells.append(journal.part(f"{name}, {samples}", made))
        say(f"N = {samples}, searching {SEARCHED} distributions")
        made = partial(worst_cell, samples, searched=SEARCHED, runs=RUNS)
        cells.append(journal.part(f"worst, {samples}", made))
    return result | {
        "alpha": ALPHA,
        "runs": RUNS,
        "searched": SEARCHED,
        "its_hub": "rules restated from a description of version 1.2.0, not run from the package",
        "cells": cells,
        "verdicts": {"agreement": agreement_verdict(cells)},
    }


def agreement_cell(
    name: str, shares: Sequence[float], samples: int, *, runs: int
) -> dict[str, Any]:
    """Judge every rule on the same draws of one distribution."""
    rng = np.random.default_rng([SEED, samples, *(int(1000 * share) for share in shares)])
    answers = drawn(shares, runs, samples, rng)
    counts = counted(answers)
    rules = {rule: judged(stopped(enough, counts), counts) for rule, enough in OURS.items()}
    rules["random"] = judged(by_lot(counts, rules["agreement"]["samples"], rng), counts)
    rules["its-hub adaptive"] = judged(adaptive(counts), counts)
    for order in ORDERS[1:]:
        ended = counted(completed(answers, order, rng))
        rules[f"its-hub beta, {order}"] = judged(raced(ended), counts)
    return {
        "distribution": name,
        "shares": list(shares),
        "samples": samples,
        "rules": rules,
        "orders_agree": orders_agree(answers[:MACHINE_RUNS], rng),
    }


def worst_cell(samples: int, *, searched: int, runs: int) -> dict[str, Any]:
    """Find the distribution on which `agreement` changes most answers; judge it afresh."""
    rng = np.random.default_rng([SEED, samples])
    found: list[tuple[float, list[float]]] = []
    for i in range(searched):
        shares = likely_bad(rng) if i < searched // 2 else varied(max(found)[1], rng)
        counts = counted(drawn(shares, SEARCH_RUNS, samples, rng))
        found.append((judged(stopped(OURS["agreement"], counts), counts)["disagree"], shares))
    shares = max(found)[1]
    return agreement_cell(f"worst of {searched} searched", shares, samples, runs=runs)


def likely_bad(rng: np.random.Generator) -> list[float]:
    """Draw shares: some answers of about equal probability, and a rest that never repeats."""
    kinds = int(rng.integers(2, 9))
    shares = rng.dirichlet(np.full(kinds, rng.choice([1.0, 10.0, 100.0])))
    shares *= rng.choice([1.0, rng.uniform(0.3, 1.0)])
    return sorted(shares.tolist(), reverse=True)


def varied(shares: Sequence[float], rng: np.random.Generator) -> list[float]:
    """Return shares near those given."""
    moved = np.array([*shares, max(1e-3, 1 - sum(shares))]) * np.exp(
        rng.normal(0, 0.1, len(shares) + 1)
    )
    return sorted((moved[:-1] / moved.sum()).tolist(), reverse=True)


def judged(stop: Stopped, counts: Counts) -> dict[str, Any]:
    """Return samples used, and how often the answer differs from the majority of N."""
    differs = stop.answer != counts.majority
    rate = float(differs.mean())
    return {
        "samples": float(stop.samples.mean()),
        "disagree": rate,
        "standard_error": float(np.sqrt(rate * (1 - rate) / len(differs))),
        "mode": float((stop.answer == 0).mean()),
    }


def by_lot(counts: Counts, mean: float, rng: np.random.Generator) -> Stopped:
    """Stop by lot after `mean` samples on average, whatever they say: the control."""
    runs, samples = counts.leader.shape
    reach = min(mean - 1, samples - mean)
    when = np.clip(np.rint(mean + rng.uniform(-reach, reach, runs)), 1, samples).astype(int)
    return Stopped(when, np.take_along_axis(counts.leader, when[:, None] - 1, axis=1)[:, 0])


def orders_agree(answers: NDArray[np.int64], rng: np.random.Generator) -> bool:
    """Return whether the state machine answers alike under every order of completion."""
    rule = Agreement(alpha=ALPHA)
    policy = Drawing(rule=Counted(enough=rule, wait=rule.wait))
    length = 1 + 0.4 * (rng.random(answers.shape) - 0.5)
    slow = np.where(answers == 0, 3 * length, length)
    early = -np.arange(answers.shape[1]) + 0 * length
    return all(
        len({machine(policy, run, key) for key in keys}) == 1
        for run, *keys in zip(*(a.tolist() for a in (answers, length, slow, early)), strict=True)
    )


def machine(policy: Drawing, answers: Sequence[int], ends: Sequence[float]) -> Finish:
    """Run the state machine; of the samples that run, the one of the least `ends` ends first."""
    state = policy.start(SampleStart(question="", samples=len(answers)))
    launched = 0
    running: set[int] = set()
    state, actions = policy.step(state, Opened())
    while True:
        for action in actions:
            if isinstance(action, Finish):
                return action
            assert isinstance(action, Launch)
            running |= set(range(launched, launched + action.count))
            launched += action.count
        index = min(running, key=ends.__getitem__)
        running.remove(index)
        ended = Ended(index=index, answer=str(answers[index]), tokens=1)
        state, actions = policy.step(state, ended)


def agreement_verdict(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The promise must hold in every cell, at fewer samples than certainty takes, and a lot that
    stops after as many samples must change more answers.
    """
    held = saved = better = alike = 0
    for cell in cells:
        own, certain = cell["rules"]["agreement"], cell["rules"]["overtaken"]
        held += own["disagree"] <= ALPHA + 2 * own["standard_error"]
        saved += own["samples"] < certain["samples"]
        better += own["disagree"] < cell["rules"]["random"]["disagree"]
        alike += cell["orders_agree"]
    total = len(cells)
    return {
        "beats_controls": bool(cells) and held == saved == better == alike == total,
        "evidence": f"of {total} cells, the promise holds in {held}, fewer samples than certainty "
        f"takes in {saved}, fewer changed answers than by lot in {better}, no influence of the "
        f"order of completion in {alike}",
    }
