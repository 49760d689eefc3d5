"""Rules that stop: what they spend, beside a lot at the same tokens."""

from __future__ import annotations

import pytest

from rheostat import catalog
from rheostat.errors import MethodError
from rheostat.kernel.samples import Ended, Probe
from rheostat.methods.sample.agreement import AgreementVote
from rheostat.methods.sample.best_of_n import BestOfN
from rheostat.methods.sample.beta_posterior import BetaVote
from rheostat.methods.sample.confidence_tail import ConfidenceTail
from rheostat.methods.sample.lead_margin import LeadMarginVote
from rheostat.methods.sample.mode import ModeVote
from rheostat.methods.sample.overtaken import OvertakenVote
from rheostat.methods.sample.random_stop import RandomStop
from rheostat.methods.sample.self_evaluation import SelfEvaluation, risen
from rheostat.methods.sample.share import ShareVote
from rheostat.methods.sample.urn import UrnVote
from sample_worlds import World, draws

N = 16
SHARES = [(0.8, 0.1), (0.6, 0.2, 0.1), (0.4, 0.3, 0.2), (0.3, 0.1, 0.1, 0.1, 0.1)]
QUESTIONS = [draws(p, N, seed=s) for s in range(60) for p in SHARES]


def judged(method, dial):
    """Share of the majority's answers that are kept, and of the samples that are drawn."""
    policy, same, drawn = method.at(dial, {}, None), 0, 0
    for i, samples in enumerate(QUESTIONS):
        full = World(samples).run(catalog.method("majority")().at(0.0, {}, None))
        world = World(samples).run(policy, seed=i)
        same += world.finish.answer == full.finish.answer
        drawn += world.launched
    return same / len(QUESTIONS), drawn / (N * len(QUESTIONS))


@pytest.mark.parametrize(
    ("method", "dial"),
    [
        (AgreementVote(), 0.05),
        (LeadMarginVote(), 1.0),
        (BetaVote(), 0.05),
        (ShareVote(), 0.3),
        (ConfidenceTail(), 0.3),
        (OvertakenVote(), 0.5),
        (UrnVote(), 0.25),
    ],
    ids=lambda value: getattr(value, "card", None) and value.card.name,
)
def test_a_rule_that_looks_keeps_more_answers_than_a_lot(method, dial):
    kept, drawn = judged(method, dial)
    by_lot, as_many = judged(RandomStop(), 1 - drawn)
    assert drawn < 0.95
    assert as_many == pytest.approx(drawn, abs=0.03)
    assert kept > by_lot


def test_agreement_keeps_its_promise_and_saves_more_than_certainty():
    kept, drawn = judged(AgreementVote(), 0.05)
    certain, most = judged(OvertakenVote(), 1e-9)
    assert certain == 1.0
    assert kept >= 0.95
    assert drawn < most - 0.05


def test_mode_leaves_ties_undecided():
    decided = [
        World(draws((0.5, 0.5), 64, seed=s)).run(ModeVote().at(0.05, {}, None)).finish.settled
        for s in range(60)
    ]
    clear = World(draws((1.0,), 64)).run(ModeVote().at(0.05, {}, None))
    assert sum(decided) <= 5
    assert clear.finish.settled
    assert clear.finish.confidence == 0.95
    assert clear.launched < 20


def test_with_a_verifier_the_first_success_ends_a_question():
    samples = draws((0.3, 0.5), N, seed=1)
    first = next(i for i, s in enumerate(samples) if s.verified)
    world = World(samples, verifier=True).run(BestOfN().at(0.05, {}, None))
    assert (world.finish.reason, world.finish.index) == ("verified", first)
    assert world.launched == first + 1
    failed = [s for s in samples if not s.verified]
    finish = World(failed_from(failed), verifier=True).run(BestOfN().at(0.05, {}, None)).finish
    assert (finish.reason, finish.settled) == ("samples", False)


def failed_from(samples):
    return [
        Ended(index=i, answer=s.answer, tokens=s.tokens, verified=False)
        for i, s in enumerate(samples)
    ]


def test_without_a_verifier_the_judge_is_asked_and_ties_go_to_votes():
    world = World(draws((0.2, 0.4), N, seed=2)).run(BestOfN().at(0.0, {}, None))
    assert world.finish.answer == "a"
    alike = [Ended(index=i, answer=a, tokens=1) for i, a in enumerate("cdd")]
    assert World(alike).run(BestOfN().at(0.0, {}, None)).finish.answer == "d"


def test_self_evaluation_is_best_of_n_at_dial_0_and_one_sample_at_dial_1():
    samples = draws((0.3, 0.7), N, seed=4)
    best = World(samples).run(SelfEvaluation().at(0.0, {}, None))
    assert best.launched == N
    assert best.finish.answer == "a"
    assert World(samples).run(SelfEvaluation().at(1.0, {}, None)).launched == 1
    probes = [a for a in best.actions if isinstance(a, Probe)]
    assert len(probes) == sum(s.answer is not None for s in samples)
    assert {probe.choices for probe in probes} == {(" No", " Yes")}


def test_temperatures_rise_from_greedy():
    assert [risen(0.8, i) for i in range(3)] == pytest.approx([0.0, 0.4, 0.6])
    world = World(draws((0.2, 0.5), 4)).run(SelfEvaluation(hottest=1.0).at(0.0, {}, None))
    assert world.temperatures == [0.0, 0.5, 0.75, 0.875]
    with pytest.raises(MethodError, match="hottest"):
        SelfEvaluation(hottest=-1.0)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (LeadMarginVote, {"margin": 0}),
        (ShareVote, {"least": 0}),
        (ConfidenceTail, {"tail": 0}),
        (UrnVote, {"unseen": -1.0}),
    ],
)
def test_parameters_out_of_range_are_refused(method, params):
    with pytest.raises(MethodError, match=next(iter(params))):
        method(**params)
