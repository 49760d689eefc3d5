"""Cuts of reasoning: loops, answers that agree, the first correct solution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.trace_cuts import (
    agreed_at,
    external_redundancy,
    first_solution,
    internal_redundancy,
    loop_end,
    sentences,
)


@pytest.mark.parametrize("length", [8, 16, 32, 64])
@pytest.mark.parametrize("before", [0, 5, 100])
def test_a_planted_loop_is_found_within_its_copies(length, before):
    rng = np.random.default_rng(length)
    start, window = rng.integers(0, 10**6, before), rng.integers(0, 10**6, length)
    tokens = [*start.tolist(), *window.tolist() * 6]
    assert loop_end(tokens) == before + 4 * length
    assert loop_end(tokens[: before + 4 * length - 1]) is None


def test_a_short_period_is_a_loop_too():
    assert loop_end([7] * 40) == 32
    assert loop_end([1, 2, 3, 4] * 8) == 32


def test_three_copies_and_plain_text_are_no_loop():
    window = list(range(100, 116))
    assert loop_end([*window * 3, 5]) is None
    assert loop_end(np.random.default_rng(0).integers(0, 50, 5000).tolist()) is None
    assert loop_end([]) is None


@pytest.mark.parametrize(
    ("answers", "at"),
    [
        (["4", "4", "4"], 2),
        (["4", None, "4", None, "4", "4"], 4),
        (["4", "5", "4", "5", "4"], None),
        (["5", "4", "4", "4"], 3),
        ([None, None], None),
        ([], None),
    ],
)
def test_never_before_three_answers_agree_in_a_row(answers, at):
    assert agreed_at(answers) == at


@given(st.text(alphabet="ab .!?\n1", max_size=60))
def test_sentences_join_to_the_text(text):
    assert "".join(sentences(text)) == text


def test_the_first_solution_ends_with_its_sentence():
    text = "Try 312 or 12.5. So it is 12. Check: 12 again.\nYes, 12."
    cut = first_solution(text, "12")
    assert text[:cut] == "Try 312 or 12.5. So it is 12."
    assert first_solution(text, "13") is None
    assert first_solution(text, "") is None


def test_what_is_saved_is_what_follows_the_solution():
    text = "It is 12. Sure."
    assert external_redundancy(text, "12") == pytest.approx(6 / 15)
    assert external_redundancy("It is 12.", "12") == 0.0
    assert external_redundancy("No idea.", "12") == 0.0


@pytest.mark.parametrize("count", [2, 7, 40])
def test_equal_sentences_are_redundant_and_orthogonal_ones_are_not(count):
    assert internal_redundancy(np.ones((count, 3))) == pytest.approx(1.0)
    if count < 20:
        assert internal_redundancy(np.eye(count)) == pytest.approx(0.0)
    assert internal_redundancy(np.ones((1, 3))) == 0.0
