"""The urn's prediction: exact beside all ways to go on, and what another vote does to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rheostat.kernel.policies.urn import Balls, Urn, gains, majority_chance
from rheostat.kernel.policies.votes import Seen
from rheostat.kernel.samples import Ended, SampleStart

BALLS = [Balls(each=1.0, unseen=1.0), Balls(each=0.3, unseen=2.0), Balls(each=0.0, unseen=0.0)]
COUNTS = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)


def enumerated(counts, silent, left, balls):
    """The chance by walking through every way to go on."""
    names = [*range(len(counts)), "unseen", None]
    leader = counts.index(max(counts))

    def chance(votes, quiet, more):
        if more == 0:
            return float(max(votes, key=votes.__getitem__) == leader)  # the earliest on a tie
        weights = {name: votes[name] + balls.each for name in range(len(counts))}
        weights |= {"unseen": votes["unseen"] + balls.unseen, None: float(quiet)}
        whole = sum(weights.values())
        found = 0.0
        for name in names:
            if weights[name]:
                after = dict(votes)
                if name is not None:
                    after[name] += 1
                share = weights[name] / whole
                found += share * chance(after, quiet + (name is None), more - 1)
        return found

    return chance(dict(enumerate(counts)) | {"unseen": 0}, silent, left)


@pytest.mark.parametrize("balls", BALLS, ids=str)
@given(counts=COUNTS, silent=st.integers(0, 2), left=st.integers(0, 4))
def test_the_chance_is_that_of_all_ways_to_go_on(balls, counts, silent, left):
    expected = enumerated(counts, silent, left, balls)
    assert majority_chance(counts, silent, left, balls) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("balls", BALLS, ids=str)
@given(counts=COUNTS, silent=st.integers(0, 2), left=st.integers(1, 12))
def test_another_vote_for_the_leader_raises_the_chance_most(balls, counts, silent, left):
    leader = counts.index(max(counts))
    now = majority_chance(counts, silent, left, balls)
    after = majority_chance(voted(counts, leader), silent, left - 1, balls)
    assert after >= now - 1e-12
    assert after >= majority_chance(counts, silent + 1, left - 1, balls) - 1e-12
    for other in range(len(counts)):
        if other != leader and counts[other] < counts[leader]:
            assert after >= majority_chance(voted(counts, other), silent, left - 1, balls) - 1e-12


def voted(counts, place):
    return (*counts[:place], counts[place] + 1, *counts[place + 1 :])


def test_a_lead_over_what_is_left_is_certain_and_an_early_tie_goes_to_the_first():
    balls = BALLS[0]
    assert majority_chance((5, 2), 0, 3, balls) == pytest.approx(1)
    assert majority_chance((5, 2), 0, 4, balls) < 1
    assert majority_chance((2, 5), 0, 3, balls) < 1  # at 5 to 5 the earlier answer has it


def test_two_answers_follow_the_beta_binomial_law():
    balls = Balls(each=1.0, unseen=0.0)
    law = stats.betabinom(7, 4, 2)  # 3 votes to 1, 7 to come
    wins = [law.pmf(k) for k in range(8) if 3 + k >= 1 + 7 - k]
    assert majority_chance((3, 1), 0, 7, balls) == pytest.approx(sum(wins))
    assert gains(1.0, 3).tolist() == [1, 1, 1, 1]


def seen(answers):
    return [
        Seen(outcome=Ended(index=i, answer=None if a == "-" else a, tokens=1))
        for i, a in enumerate(answers)
    ]


def looked(answers, allowed):
    start = SampleStart(question="q", samples=len(answers))
    rule = Urn(allowed=allowed, balls=BALLS[0])
    return [rule.look(seen(answers)[:n], start) for n in range(len(answers) + 1)]


def stop_after(answers, allowed):
    """Where the rule stops on a sequence, asked after every sample."""
    return next(i for i, look in enumerate(looked(answers, allowed)) if not isinstance(look, int))


@given(answers=st.lists(st.sampled_from("aabc-"), min_size=1, max_size=12))
def test_a_larger_allowance_stops_no_later_and_none_never_before_the_end(answers):
    stops = [stop_after(answers, allowed) for allowed in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)]
    assert stops[0] == len(answers)
    assert stops == sorted(stops, reverse=True)


@given(answers=st.lists(st.sampled_from("aabc-"), min_size=2, max_size=12), allowed=st.floats(0, 1))
def test_it_never_stops_before_the_number_that_it_asked_for(answers, allowed):
    looks = looked(answers, allowed)
    for n, look in enumerate(looks):
        if not isinstance(look, int):
            break
        assert 1 <= look <= len(answers) - n
        assert all(isinstance(sooner, int) for sooner in looks[n : n + look])


def test_fewer_errors_are_allowed_where_fewer_samples_are_saved():
    start = SampleStart(question="q", samples=16)
    rule = Urn(allowed=0.25, balls=BALLS[0])
    early = rule.look(seen("aaa"), start)
    assert early.confidence >= 1 - 0.25 * 13 / 16
    late = "aaaaabbbbcccd"
    chance = majority_chance((5, 4, 3, 1), 0, 3, BALLS[0])
    assert 1 - 0.25 * 13 / 16 < chance < 1 - 0.25 * 3 / 16
    assert isinstance(rule.look(seen(late), start), int)
