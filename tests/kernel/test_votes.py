"""Votes: ties go to the earliest launch, silence is no vote."""

from __future__ import annotations

import pytest

from rheostat.kernel.policies.vote_weights import by_perplexity
from rheostat.kernel.policies.votes import Seen, leads, ranked
from rheostat.kernel.samples import Ended, Lost


def seen(answers, **more):
    """One sample a letter; `-` gave no answer, `!` was lost."""
    return [
        Seen(
            outcome=Lost(index=i, reason="failed")
            if letter == "!"
            else Ended(index=i, answer=None if letter == "-" else letter, tokens=1, **more)
        )
        for i, letter in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "winner", "first", "counts"),
    [
        ("abba", "a", 0, (2, 2)),
        ("-bab", "b", 1, (2, 1)),
        ("!!a", "a", 2, (1, 0)),
        ("cabbc", "c", 0, (2, 2)),
    ],
)
def test_the_majority_and_its_rival(answers, winner, first, counts):
    best = ranked(seen(answers))[0]
    assert (best.answer, best.first) == (winner, first)
    assert leads(seen(answers)) == counts


def test_without_an_answer_nobody_wins():
    assert ranked(seen("-!-")) == []
    assert leads(seen("-!-")) == (0, 0)


def test_weights_decide_before_counts():
    assert ranked(seen("aab"), [0.2, 0.2, 0.5])[0].answer == "b"


def test_an_unknown_perplexity_weighs_as_the_others_do_on_average():
    samples = [*seen("ab", logprob=-1.0), *seen("a"), *seen("b", logprob=float("nan"))]
    assert by_perplexity(samples) == pytest.approx([0.3679] * 4, abs=1e-4)
    assert by_perplexity(samples, sharpness=0.0) == [1.0] * 4
