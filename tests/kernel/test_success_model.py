"""What the model of success learns from: prefixes of which no sample is right, in fair orders."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.kernel.allocation import QuestionView
from rheostat.kernel.policies.success_model import described, examples, fitted
from rheostat.kernel.samples import Ended

FEATURES = (0.5,)


def seen(rights, answers=None, features=FEATURES):
    """A question with all its samples, verified as written."""
    samples = tuple(
        Ended(index=i, answer=answer, tokens=20, verified=ok)
        for i, (ok, answer) in enumerate(zip(rights, answers or "a" * len(rights), strict=True))
    )
    return QuestionView(
        id="", seen=samples, wanted=0, samples=16, bound=40, features=features, verifier=True
    )


def test_nothing_is_learnt_of_what_comes_after_a_right_sample():
    found = examples([seen([False, True, True, False])])
    assert found.right.tolist() == [0, 1]
    assert found.solved == 1
    view = seen([False, True])
    assert found.known.tolist() == [described(FEATURES, view.seen[:k]) for k in (0, 1)]


def test_every_cyclic_order_stops_at_its_first_right_sample():
    found = examples([seen([False, True, False, False]), seen([False, False])], orders=4)
    assert found.right.tolist() == [0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]
    assert found.solved == 1


@pytest.mark.parametrize("orders", [1, 4])
def test_wrong_answers_that_agree_promise_nothing_though_right_ones_agree(orders):
    """Questions are answered alike and right, alike and wrong, or by chance."""
    rng = np.random.default_rng(0)
    known = []
    for i in range(150):
        if i % 3 == 0:
            rights, answers = [True] * 16, "r" * 16
        elif i % 3 == 1:
            rights, answers = [False] * 16, "w" * 16
        else:
            rights = (rng.random(16) < 0.2).tolist()
            answers = "".join("r" if ok else str(rng.integers(9)) for ok in rights)
        known.append(seen(rights, answers))
    model = fitted([seen([False] * 4, "wwww")], examples(known, orders))
    stuck = model.chance_of_any(seen([False] * 4, "wwww"))
    torn = model.chance_of_any(seen([False] * 4, "1234"))
    assert stuck < 0.25 < torn


def test_a_few_solved_questions_among_many_hopeless_ones_are_told_apart():
    rng = np.random.default_rng(1)
    easy = [seen((rng.random(16) < 0.5).tolist(), features=(0.0, 3.0)) for _ in range(12)]
    hard = [seen([False] * 16, features=(0.1, 4.0)) for _ in range(12)]
    model = fitted(easy[:1], examples([*easy, *hard], 4))
    chances = [model.chance(seen([], features=one.features)) for one in (easy[0], hard[0])]
    assert chances[0] > 0.3 > 0.05 > chances[1]
