"""Features of a task's text are finite, few, and grow with what makes it harder."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.task_features import text_features


@given(st.text(max_size=80))
def test_every_text_has_the_same_finite_features(text):
    features = text_features(text)
    assert len(features) == len(text_features(""))
    assert all(map(math.isfinite, features))


def test_longer_numbers_and_more_of_them_are_told_apart():
    one, more, longer = (text_features(t) for t in ("3 + 4", "3 + 4 + 5", "31 + 442"))
    assert one[2] < more[2]
    assert one[4] < longer[4]
    assert one[5:] != text_features("3 * 4")[5:]


def test_numbers_tell_by_their_sizes_and_digits():
    assert text_features("7 - 8") != text_features("8 - 7")
    near, far = (text_features(t)[15:] for t in ("What is 6 * 7?", "What is 60 * 70?"))
    assert near != far
    assert text_features("version 1.2.3")[-9:-5] == (0.0,) * 4  # no number, and nothing breaks
