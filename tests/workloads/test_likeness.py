"""The small judge of unfinished samples: a law of two texts that pairs can teach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.workloads.answers import AnswerKind, answer_in
from rheostat.workloads.likeness import Likeness, Weights, fit

texts = st.text(alphabet="ab 12.=", max_size=30)


def judge(*weights):
    found = (Weights(*weights),) if weights else ()
    return Likeness(lambda text: answer_in(text, AnswerKind("number")), *found)


@given(texts, texts)
def test_it_gives_a_probability_that_does_not_depend_on_the_order(one, other):
    probability = judge().probability(one, other)
    assert 0 < probability < 1
    assert judge().probability(other, one) == pytest.approx(probability)


def test_what_two_texts_have_in_common_is_what_is_read():
    assert judge().features("it is 12", "it is 12") == (1.0, 1.0, 0.0, 1.0, 1.0)
    assert judge().features("so a 3", "so b 4") == (1.0, 0.0, 1.0, 0.2, pytest.approx(1 / 3))
    assert judge().features("", "") == (1.0, 0.0, 0.0, 1.0, 0.0)


def test_pairs_teach_what_tells_them_apart():
    """Equal numbers so far end alike nine times of ten, others one time of ten."""
    pairs = []
    for i in range(200):
        same, kept = i % 2 == 0, i % 20 < 18
        other = f"then {5 if same else 6}"
        pairs.append(("first 5", other, same == kept))
    taught = judge(*fit(judge(), pairs))
    assert taught.probability("first 5", "then 5") == pytest.approx(0.9, abs=0.05)
    assert taught.probability("first 5", "then 6") == pytest.approx(0.1, abs=0.05)
