"""Ends that are found token by token are those that the whole sequence has."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.stop_early import (
    LONGEST,
    REFLECTION,
    SENTENCE_END,
    Agreement,
    FirstOf,
    Length,
    Loop,
    Lots,
    stated,
    stretched,
)
from rheostat.kernel.policies.trace_cuts import agreed_at, loop_end
from rheostat.kernel.stop import Written


def end_of(policy, tokens, pieces=None, *, seed=0):
    """After how many tokens the policy ends the sequence; None = it does not."""
    state, text = policy.start(seed), ""
    for n in range(1, len(tokens) + 1):
        text += pieces[n - 1] if pieces else ""
        state, stops = policy.step(state, Written(tokens[:n], text))
        if stops:
            return n
    return None


def end_in(policy, pieces):
    return end_of(policy, list(range(len(pieces))), pieces)


@given(
    st.lists(st.integers(0, 2), max_size=12),
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.integers(0, 12),
    st.integers(2, 5),
)
def test_a_loop_ends_where_the_whole_sequence_has_it(before, window, copies, times):
    tokens = [*before, *window * copies]
    lengths = (2, 4, 8)
    policy = Loop(times=times, lengths=lengths)
    assert end_of(policy, tokens) == loop_end(tokens, lengths=lengths, times=times)


@given(st.lists(st.sampled_from(["5", "7", " no", ".", "\n", " is 5. ", "3"]), max_size=30))
def test_agreement_is_that_of_the_whole_text(pieces):
    text = "".join(pieces)
    segments, begun = [], 0
    for end in SENTENCE_END.finditer(text):
        segments.append(stated(text[begun : end.end()]))
        begun = end.end()
    at = end_in(Agreement(ends=SENTENCE_END, agreeing=2), pieces)
    whole = agreed_at(segments, agreeing=2)
    assert (at is None) is (whole is None)
    if at is not None and at > 1:
        before = "".join(pieces[: at - 1])
        ends = [*SENTENCE_END.finditer(before)]
        assert len(ends) <= whole < len([*SENTENCE_END.finditer("".join(pieces[:at]))])


def test_the_second_statement_of_a_solution_ends_it_and_a_correction_does_not():
    policy = Agreement(ends=SENTENCE_END, agreeing=2)
    settled = ["6 x 7 = 42", ".", " The answer is 42", ".", " ", "Check again."]
    assert end_in(policy, settled) == 5
    assert end_in(policy, ["It is 41.", " No, 42.", " Hm. ", "Well."]) is None
    assert end_in(policy, ["It is 4", ".", "5.", " So 4.5. "]) == 4
    assert end_in(policy, ["1,000.\n", "Yes, 1000.\n"]) == 2


def test_segments_end_where_reasoning_turns_back():
    policy = Agreement(ends=REFLECTION, agreeing=3)
    steps = ["It is 12.", "\nWait", ", 3 x 4 = 12.", "\n\nHmm", ", 12.", "\nButton 12.", "\nBut "]
    assert end_in(policy, steps) == len(steps)
    assert end_in(policy, steps[:-1]) is None
    assert all(len(m.group()) < LONGEST for m in REFLECTION.finditer("\n" * 99 + "Wait, 1"))


@pytest.mark.parametrize("blanks", [1, 8, 9, 60])
def test_markers_behind_blank_lines_are_found_piece_by_piece(blanks):
    policy = Agreement(ends=REFLECTION, agreeing=2)
    text = f"It is 5.\nWait, it is 5.{chr(10) * blanks}Alternatively, 6."
    assert end_in(policy, list(text)) is not None


def test_what_is_asked_for_grows_without_end_as_the_dial_falls():
    assert [stretched(3, dial) for dial in (1.0, 0.5, 0.3, 0.25)] == [3, 6, 10, 12]
    assert stretched(3, 0.0) == math.inf


@pytest.mark.parametrize("seed", range(5))
def test_a_higher_chance_ends_no_later_and_lots_have_their_mean(seed):
    tokens = [0] * 400
    ends = [end_of(Lots(chance=c), tokens, seed=seed) for c in (0.05, 0.2, 0.9)]
    assert ends == sorted(ends, reverse=True)
    lots = [end_of(Lots(chance=0.1), tokens, seed=1000 * seed + i) for i in range(300)]
    assert abs(np.mean(lots) - 10) < 4 * math.sqrt(90 / 300)
    assert end_of(Lots(chance=0.0), tokens, seed=seed) is None


def test_the_first_of_several_reasons_ends_it():
    late, early = Length(tokens=9), Length(tokens=4)
    assert end_of(FirstOf((late, early)), list(range(20))) == 4
    assert end_of(Length(tokens=math.inf), list(range(20))) is None
