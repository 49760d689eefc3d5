"""Allocation by value against round robin, the equal split and the oracle of hindsight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rheostat.kernel.allocation import Epoch, QuestionView
from rheostat.kernel.policies.by_value import KNOWN, ByValue, index, information
from rheostat.kernel.policies.in_turn import InTurn
from rheostat.kernel.policies.success_model import examples, fitted
from rheostat.kernel.samples import Ended, Lost

N, BOUND = 8, 40
KINDS = ((0.55, 1.0), (0.15, 0.0), (0.0, -1.0))
"""Chance of a right sample, and a feature of the task that tells something of it."""


def questions(count=90, *, seed=0, verifier=True):
    """Questions of three kinds, with all their samples."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        chance, feature = KINDS[i % 3]
        right = rng.random(N) < chance
        samples = tuple(
            Ended(
                index=j,
                answer="right" if ok else f"wrong {rng.integers(6)}",
                tokens=int(rng.integers(15, 30)),
                verified=bool(ok) if verifier else None,
            )
            for j, ok in enumerate(right)
        )
        made.append((samples, (feature + 0.7 * rng.normal(),)))
    return made


def solve(allocation, tasks, budget, *, width=12):
    """Stop each question at its first success; return what was solved and spent by question."""
    seen, closed = dict.fromkeys(range(len(tasks)), ()), set()

    def over(i):
        return i in closed or len(seen[i]) == N or any(s.verified for s in seen[i])

    def view(i):
        samples, features = tasks[i]
        return QuestionView(
            id=str(i),
            seen=seen[i],
            wanted=0 if over(i) else 1,
            samples=N,
            bound=BOUND,
            features=features,
            verifier=samples[0].verified is not None,
        )

    while True:
        ready = [i for i in seen if not over(i)]
        spent = sum(s.tokens for some in seen.values() for s in some)
        done = [view(i) for i in seen if over(i)]
        epoch = allocation.epoch([view(i) for i in ready], budget - spent, width, done)
        if not epoch.grants and not epoch.closed:
            break
        assert sum(g.samples for g in epoch.grants) <= width
        assert sum(g.samples for g in epoch.grants) * BOUND <= budget - spent
        closed |= {int(name) for name in epoch.closed}
        for name, samples in epoch.grants:
            i = int(name)
            assert i not in closed
            seen[i] += tasks[i][0][len(seen[i]) : len(seen[i]) + samples]
    solved = {i for i in seen if any(s.verified for s in seen[i])}
    return solved, {i: sum(s.tokens for s in seen[i]) for i in seen}


def seen(samples, features):
    """A question that others learn from."""
    return QuestionView(
        id="", seen=samples, wanted=0, samples=N, bound=BOUND, features=features, verifier=True
    )


def of_hindsight(tasks, budget):
    """The most questions that the budget could have solved."""
    prices = sorted(
        sum(s.tokens for s in samples[: [s.verified for s in samples].index(True) + 1])
        for samples, _ in tasks
        if any(s.verified for s in samples)
    )
    return int(np.searchsorted(np.cumsum(prices), budget - BOUND, side="right"))


@pytest.mark.parametrize("seed", range(3))
def test_more_is_solved_than_in_turn_and_no_more_than_in_hindsight(seed):
    tasks = questions(seed=seed)
    budget = 2 * len(tasks) * 22
    solved, _ = solve(ByValue(), tasks, budget)
    in_turn, _ = solve(InTurn(), tasks, budget)
    assert len(in_turn) < len(solved) <= of_hindsight(tasks, budget)


@pytest.mark.parametrize("seed", range(3))
def test_a_frugal_run_gets_more_for_a_token_and_spends_less_on_the_unsolvable(seed):
    tasks = questions(seed=seed)
    solved, spent = solve(ByValue(), tasks, 2 * len(tasks) * 22)
    few, little = solve(ByValue(frugal=60.0), tasks, 2 * len(tasks) * 22)
    beyond = [i for i, (samples, _) in enumerate(tasks) if not any(s.verified for s in samples)]
    assert len(few) / sum(little.values()) > 1.1 * len(solved) / sum(spent.values())
    assert sum(little[i] for i in beyond) < 0.75 * sum(spent[i] for i in beyond)


def test_what_was_learnt_before_solves_more_within_a_small_budget():
    before = [seen(samples, features) for samples, features in questions(seed=10)]
    taught = ByValue(learnt=examples(before))
    tasks = [questions(seed=seed) for seed in range(4)]
    more, few = (
        sum(len(solve(allocation, some, 90 * 11)[0]) for some in tasks)
        for allocation in (taught, ByValue())
    )
    assert more > few


@pytest.mark.parametrize("seed", range(3))
def test_without_a_budget_closing_saves_tokens_and_loses_few(seed):
    tasks = questions(seed=seed)
    solved, spent = solve(ByValue(lost=0.03), tasks, 10**6)
    every, whole = solve(ByValue(lost=0.0), tasks, 10**6)
    assert every == {i for i, (samples, _) in enumerate(tasks) if any(s.verified for s in samples)}
    assert len(solved) >= 0.93 * len(every)
    assert sum(spent.values()) / sum(whole.values()) < len(solved) / len(every)


def test_the_same_views_give_the_same_epoch():
    tasks = questions(30)
    views = [
        QuestionView(
            id=str(i), seen=samples[:2], wanted=1, samples=N, bound=BOUND, features=f, verifier=True
        )
        for i, (samples, f) in enumerate(tasks)
        if not any(s.verified for s in samples[:2])
    ]
    assert ByValue().epoch(views, 500.0, 8) == ByValue().epoch(views, 500.0, 8)


def view(answers, *, wanted=4, samples=16, **more):
    seen = tuple(
        Lost(index=i, reason="failed") if a == "!" else Ended(index=i, answer=a, tokens=20)
        for i, a in enumerate(answers)
    )
    return QuestionView(
        id=answers or "new", seen=seen, wanted=wanted, samples=samples, bound=BOUND, **more
    )


def test_without_a_verifier_the_contested_question_comes_first():
    views = [view("aaaaaa"), view("aabbab"), view("aaabaa")]
    grants = ByValue().epoch(views, 10**6, 4).grants
    assert grants[0].question == "aabbab"


def test_the_value_of_information_is_that_of_the_posterior():
    assert information(0, 0, 1) == pytest.approx(0.25)  # from 1/2 to 3/4
    assert information(4, 0, 1) == pytest.approx(0.0, abs=1e-12)  # one vote cannot turn it
    assert information(2, 2, 5) > information(3, 1, 5) > information(4, 1, 5) > 0


def test_nothing_fits_nothing_is_granted():
    assert ByValue().epoch([view("aab")], BOUND - 1.0, 8) == Epoch(())
    assert ByValue().epoch([], 100.0, 8) == Epoch(())


def test_the_model_learns_who_succeeds_and_bears_broken_signals():
    tasks = questions(60)
    views = [
        QuestionView(
            id=str(i), seen=samples, wanted=0, samples=N, bound=BOUND, features=f, verifier=True
        )
        for i, (samples, f) in enumerate(tasks)
    ]
    model = fitted(views)
    fresh = [replace(views[0], seen=(), features=(f,)) for f in (1.0, 0.0, -1.0)]
    chances = [model.chance(v) for v in fresh]
    assert chances[0] > 1.5 * chances[2]
    broken = replace(views[0], seen=(Ended(index=0, answer=None, tokens=0, logprob=float("nan")),))
    assert 0 < fitted([broken]).chance(broken) < 1
    assert 0 <= model.chance_of_any(broken) <= 1


class Known:
    """A model of which the chances are given."""

    def __init__(self, *chances):
        self.given = np.array(chances)

    def chances(self, question):
        return self.given


@pytest.mark.parametrize(
    ("chances", "seen", "expected"),
    [
        ((0.5, 0.4), "a", 0.5 / 20),
        ((0.5, 0.4), "", (0.5 + 0.5 * 0.4) / (40 + 0.5 * 20)),  # a prompt of 20, spread over two
        ((0.5, 0.1), "", 0.5 / 40),
    ],
)
def test_the_index_is_the_best_rate_of_any_number_of_samples(chances, seen, expected):
    assert index(Known(*chances), view(seen), 20.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("chances", "seen", "expected"),
    [
        (
            (0.5, 0.4),
            "a",
            0.5 / (0.3 * 20),
        ),  # none is right with 0.5 * 0.6; the second is worth less
        ((0.5, 0.0), "", 0.5 / (0.5 * 40)),  # the prompt is in vain as well
        ((0.0, 0.0), "a", 0.0),
    ],
)
def test_tokens_in_vain_are_those_of_questions_without_a_solution(chances, seen, expected):
    assert index(Known(*chances), view(seen), 20.0, in_vain=True) == pytest.approx(expected)


def test_a_run_that_asks_too_much_looks_around_and_closes_what_is_left():
    tasks = questions(90)
    solved, spent = solve(ByValue(frugal=1e9), tasks, 10**6)
    assert KNOWN <= len(solved) < KNOWN + 12  # one epoch at most is too many
    assert sum(spent.values()) < 0.6 * sum(s.tokens for samples, _ in tasks for s in samples)
    taught = ByValue(frugal=1e9, learnt=examples([seen(samples, f) for samples, f in tasks]))
    assert not sum(solve(taught, questions(12, seed=1), 10**6)[1].values())
