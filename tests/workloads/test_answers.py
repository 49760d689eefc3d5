"""Answers are found where they stand, and equal ones are one class."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.workloads.answers import AnswerKind, answer_class, answer_in, kind_of

NUMBER = AnswerKind("number")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is 14. The multiplication of 2 and 7 is 14.", "14"),
        ("3 * 7 = 21", "21"),
        ("answer: 3 * 7 = 21. I hope that 9 helps", "21"),
        ("9-2", "2"),
        ("so x = -3", "-3"),
        ("it costs $1,234.50.", "2469/2"),
        (r"first 8, then \boxed{\frac{6}{8}}, not 5", "3/4"),
        ("<answer> 12 </answer> or 13", "12"),
        ("The final answer is: **42**", "42"),
        ("Answer: the sum of these. It is 7", "7"),
        ("The answer is 5 / 0", None),
        ("Hello! What is your question?", None),
        ("", None),
    ],
)
def test_the_answer_of_a_text(text, found):
    assert answer_in(text, NUMBER) == found


@pytest.mark.parametrize(
    "forms",
    [
        ("1/2", "0.5", ".5", "0.50", "50%", "50 %", r"\frac{1}{2}", "1 / 2", "$0.5$", "**0.5**"),
        ("1000", "1,000", "1000.0", "1e3", " 1000 .", "\\boxed{1000}"),
        ("-3", "\u22123", "-3.0", "-6/2"),
    ],
)
def test_forms_of_one_number_are_one_class(forms):
    assert len({answer_in(f"so it is {form}", NUMBER) for form in forms}) == 1


@given(st.fractions(max_denominator=10**6))
def test_a_class_is_its_own_class(number):
    assert answer_class(str(number), NUMBER) == str(number)


@given(st.text(max_size=60))
def test_any_text_has_a_class_or_none(text):
    for kind in (NUMBER, AnswerKind("text"), AnswerKind("choice", ("no", "yes"))):
        found = answer_in(text, kind)
        assert found is None or answer_class(found, kind) == found


def test_the_kind_follows_from_the_references():
    assert kind_of(["1", "2/3", None]) == NUMBER
    assert kind_of(["Yes", "no", "No.", "yes"]) == AnswerKind("choice", ("no", "yes"))
    assert kind_of(["red, blue", "blue, red"]).kind == "text"
    assert kind_of([]) == NUMBER


def test_a_choice_is_the_first_word_that_is_one():
    kind = kind_of(["Yes", "No"] * 2)
    assert answer_in("Yes, it does follow; no doubt about it", kind) == "yes"
    assert answer_in("The answer is no.", kind) == "no"
    assert answer_in("Maybe", kind) is None


def test_texts_agree_but_for_case_space_and_final_punctuation():
    kind = AnswerKind("text")
    assert answer_in("Sure!\n\n  Red,  Blue.\n", kind) == answer_class("red, blue", kind)


def test_mathematics_is_compared_as_mathematics():
    pytest.importorskip("math_verify", reason="needs the `tasks` extra")
    kind = kind_of([r"\sqrt{2}", "x+1"])
    assert kind.kind == "math"
    assert answer_in(r"The answer is $\frac{\sqrt{8}}{2}$", kind) == answer_class(r"\sqrt{2}", kind)
    assert answer_in(r"\boxed{1+x}", kind) == answer_class("x + 1", kind)
    assert answer_in(r"\boxed{\frac{1}{2}}", kind) == answer_class("0.5", kind)
