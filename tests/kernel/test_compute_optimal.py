"""Tables of strategies by difficulty: the best under a budget."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rheostat.kernel.policies.compute_optimal import Table, agreement_of_first, fitted_table

TOKENS = np.array([4.0, 8.0, 16.0])


def world(seed, questions=60):
    draw = np.random.default_rng(seed)
    difficulty = draw.integers(0, 3, questions)
    odds = np.array([[0.9, 0.9, 0.9], [0.4, 0.6, 0.8], [0.1, 0.1, 0.1]])
    right = (draw.random((questions, 3)) < odds[difficulty]).astype(float)
    return difficulty, right, np.tile(TOKENS, (questions, 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [4.0, 7.0, 11.0, 16.0])
def test_no_table_within_the_budget_is_better(seed, budget):
    made = world(seed)
    found = fitted_table(*made, difficulties=3, budget=budget).of(*made)
    assert found.tokens <= budget + 1e-9
    every = [Table(strategies=one).of(*made) for one in product(range(3), repeat=3)]
    assert found.accuracy == max(one.accuracy for one in every if one.tokens <= budget + 1e-9)


def test_hopeless_and_easy_questions_leave_their_samples_to_the_others():
    made = world(1, questions=3000)
    assert fitted_table(*made, difficulties=3, budget=8.2).strategies == (0, 2, 0)


def test_the_cheapest_table_is_taken_where_none_keeps_the_budget():
    made = world(2)
    assert fitted_table(*made, difficulties=3, budget=1.0).strategies == (0, 0, 0)


def test_difficulty_is_what_the_first_samples_disagree_on():
    assert agreement_of_first(["a", "a", "a", "a", "b"], 4) == 0
    assert agreement_of_first(["a", "b", "a", None], 4) == 2
    assert agreement_of_first([None] * 4, 4) == 3
