from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.workloads import counts, has_loop, overlap, score_text

TEXTS = st.text(st.sampled_from("ab c\n.,`"))
TOKENS = st.lists(st.integers(0, 3), max_size=40)
RUN = list(range(8))


def naive_loop(tokens, n):
    grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
    close = any(
        grams[i] == grams[j]
        for i in range(len(grams))
        for j in range(i + 1, min(i + n + 1, len(grams)))
    )
    return close or any(grams.count(gram) >= 3 for gram in grams)


@given(tokens=TOKENS, n=st.integers(1, 8))
def test_a_loop_is_what_the_definition_says(tokens, n):
    assert has_loop(tokens, n) == naive_loop(tokens, n)


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        ([], False),
        (list(range(100)), False),
        (RUN + RUN, True),
        ([*RUN, 8, *RUN], False),
        ([*RUN, 8, *RUN, 9, *RUN], True),
        ([5] * 8, False),
        ([5] * 9, True),
        ([1, 2, 3] * 3 + [1, 2], True),
        ([1, 2, 3] * 3, False),
    ],
)
def test_distant_repetition_is_no_loop_and_close_repetition_is(tokens, loop):
    assert has_loop(tokens) is loop


@given(tokens=TOKENS, before=TOKENS, after=TOKENS)
def test_text_around_a_loop_does_not_hide_it(tokens, before, after):
    assert not has_loop(tokens, 4) or has_loop(before + tokens + after, 4)


@given(text=TEXTS, reference=TEXTS, more=TEXTS)
def test_overlap_is_a_share_and_more_words_never_lower_it(text, reference, more):
    share = overlap(text, reference)
    assert 0 <= share <= overlap(f"{text} {more}", reference) <= 1


@pytest.mark.parametrize(
    ("text", "reference", "share"),
    [
        ("The cat sat.", "the cat, the dog", 0.5),
        ("the the the the", "the cat the dog", 0.5),
        ("a = b[c]", "a = b[c]", 1.0),
        ("", "one", 0.0),
        ("anything", "...", 0.0),
    ],
)
def test_overlap_counts_words_as_often_as_the_reference_holds_them(text, reference, share):
    assert overlap(text, reference) == share


def test_an_output_counts_without_a_loop_and_with_half_of_its_reference():
    assert counts("one two", [1, 2], "one two three four")
    assert not counts("one", [1], "one two three four")
    assert counts("one", [1], "one two three four", minimum=0.25)
    assert not counts("one two three four", [7] * 20, "one two three four")


@given(kind=st.sampled_from(["edit", "copy", "chat", "file"]), text=TEXTS, reference=TEXTS)
def test_scores_lie_between_nothing_and_the_reference_itself(kind, text, reference):
    assert 0 <= score_text(kind, text, reference) <= 1 == score_text(kind, reference, reference)


def test_edit_scores_words_in_order():
    assert score_text("edit", "the cat\nsat", "the cat sat down") == 2 * 3 / 7
    assert score_text("edit", "down sat cat the", "the cat sat down") == 0.25


def test_copy_scores_lines_and_looks_past_fences_and_blank_lines():
    code = "def f(a):\n    return a"
    assert score_text("copy", f"```python\n{code}  \n\n```", code) == 1
    assert score_text("copy", "def f(a):\n  return a", code) == 0.5


def test_other_references_are_right_or_wrong_but_for_case_space_and_final_stop():
    assert score_text("file", "  Paris.\n", "paris") == 1
    assert score_text("file", "Paris, France", "paris") == 0
    assert score_text("file", "3.5", "35") == 0
