"""`Drawing` launches what a rule must see, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rheostat.kernel.policies.drawing import Drawing, Verdict
from rheostat.kernel.policies.stop_rules import Counted, LeadMargin, Overtaken
from rheostat.kernel.policies.votes import ranked
from rheostat.kernel.samples import (
    Closed,
    Ended,
    Finish,
    Launch,
    Lost,
    Opened,
    SampleStart,
    Score,
    Scored,
)

TWO_AHEAD = Counted(enough=LeadMargin(margin=2, dial=1.0))


def told(policy, *events, samples=8):
    """The actions after each event."""
    state, made = policy.start(SampleStart(question="q", samples=samples)), []
    for event in (Opened(), *events):
        state, actions = policy.step(state, event)
        made.append(tuple(actions))
    return made


def ended(index, answer):
    return Ended(index=index, answer=answer, tokens=5)


def test_as_many_are_launched_as_the_rule_needs_at_least():
    policy = Drawing(rule=TWO_AHEAD)
    made = told(policy, ended(0, "a"), ended(1, "b"), ended(2, "b"), ended(3, "b"))
    assert made[:4] == [(Launch(count=2),), (), (Launch(count=2),), ()]
    assert made[4][0].answer == "b"


def test_a_sample_that_ended_early_waits_for_those_launched_before():
    made = told(Drawing(rule=TWO_AHEAD), ended(1, "a"), ended(0, "a"))
    assert made[1] == ()
    (finish,) = made[2]
    assert (finish.answer, finish.index, finish.reason, finish.settled) == ("a", 0, "settled", True)


def test_launches_stay_within_the_plan():
    policy = Drawing(rule=Counted(enough=LeadMargin(margin=99, dial=1.0)))
    made = told(policy, *(ended(i, "a") for i in range(3)), samples=3)
    assert made[0] == (Launch(count=3),)
    assert made[-1][0].reason == "samples"


def test_at_the_end_of_a_budget_the_prefix_answers():
    late = [ended(i, "b") for i in (1, 2, 3)]
    policy = Drawing(rule=Counted(enough=Overtaken(dial=1e-9)))
    for events, answer, index in [
        ([ended(0, "a"), *late[1:]], "a", 0),  # sample 1 still runs
        (late, "b", 1),  # sample 0 still runs: what ended behind it is all there is
        ([], None, None),
    ]:
        finish = told(policy, *events, Closed(reason="deadline"))[-1][-1]
        assert (finish.answer, finish.index) == (answer, index)
        assert (finish.reason, finish.settled, finish.confidence) == ("deadline", False, None)


@dataclass(frozen=True)
class FirstGood:
    """Stops at the first value over a half."""

    def look(self, seen, start):
        if seen and (seen[-1].value or 0) > 0.5:
            return Verdict(
                vote=self.best(seen[-1:], start), settled=True, confidence=None, reason="settled"
            )
        return 1

    def best(self, seen, start):
        return next(iter(ranked(seen)), None)


def test_a_sample_counts_when_what_was_asked_about_it_is_known():
    policy = Drawing(rule=FirstGood(), ask=lambda ended, start: Score(index=ended.index))
    made = told(policy, ended(0, "a"), Scored(index=0, score=0.9))
    assert made[1] == (Score(index=0),)
    assert isinstance(made[2][0], Finish)


def test_a_question_that_failed_leaves_the_sample_its_vote():
    policy = Drawing(rule=FirstGood(), ask=lambda ended, start: Score(index=ended.index))
    made = told(policy, ended(0, "a"), Lost(index=0, reason="failed"), Closed(reason="budget"))
    assert made[2] == (Launch(count=1),)
    assert made[3][0].answer == "a"


def test_temperatures_go_with_the_index():
    policy = Drawing(rule=TWO_AHEAD, temperature=lambda index: 0.0 if index == 0 else None)
    assert told(policy)[0] == (Launch(count=1, temperature=0.0), Launch(count=1))


@pytest.mark.parametrize("index", [0, 5])
def test_an_answer_to_nothing_is_ignored(index):
    assert told(Drawing(rule=TWO_AHEAD), Scored(index=index, score=1.0))[1] == ()
