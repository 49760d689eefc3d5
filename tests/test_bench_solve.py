"""The suite `solve` on made-up recordings: figures that can be checked by hand, and budgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rheostat.bench import solve as suite
from rheostat.bench.its_hub_peer import its_hub_rules
from rheostat.bench.solve_bounds import choices, least_in_vain, least_tokens, most_solved
from rheostat.bench.solve_budget import Known, Likely, best_split, equal_split, run_under
from rheostat.bench.solve_cheapest import AtDial, chosen_rules
from rheostat.bench.solve_recordings import SAMPLES
from rheostat.bench.solve_rules import (
    against_fixed,
    compared,
    deviation,
    figures,
    first_votes,
    hindsight,
    majority,
    prefill_equivalents,
    verdict,
)
from rheostat.engines.base import Request
from rheostat.engines.sample_store import StoredSample
from rheostat.kernel.cost import Cost
from rheostat.kernel.cost_laws import PrefillEquivalents
from rheostat.kernel.policies.in_turn import InTurn
from rheostat.kernel.samples import Ended
from rheostat.stages.recorded import Recorded
from rheostat.stages.replayed import drawn_by
from stages.counting_policies import Lead


def question(name, answers, *, right="1", lengths=None):
    """A question whose samples answer as written, one letter each; `-` = no answer."""
    lengths = lengths or [5] * len(answers)
    given = [None if letter == "-" else letter for letter in answers]
    samples = tuple(
        StoredSample(
            question=name,
            index=i,
            text=answer or "",
            answer=answer,
            token_ids=(),
            stop_reason="eos",
            temperature=0.7,
            cost=Cost(prompt_tokens=9 * (i == 0), new_tokens=n, calls=n),
        )
        for i, (answer, n) in enumerate(zip(given, lengths, strict=True))
    )
    ended = tuple(
        Ended(index=i, answer=answer, tokens=n)
        for i, (answer, n) in enumerate(zip(given, lengths, strict=True))
    )
    return Recorded(
        id=name,
        task="t",
        text=f"How much is 3 + {len(name)}?",
        ended=ended,
        right=tuple(answer == right for answer in given),
        samples=samples,
    )


QUESTIONS = [
    question("sure", "1111111111111111"),
    question("late", "2211111111111111"),
    question("wrong", "3333333333333333"),
    question("torn", "1213121312131213"),
    question("mute", "----------------"),
    question("rare", "2222222222221222"),
]


def test_a_majority_goes_to_the_earliest_on_a_tie_and_ignores_no_answers():
    assert [majority(question("q", text).ended) for text in ("2112", "--1-", "---")] == [
        "2",
        "1",
        None,
    ]


def test_a_rule_pays_for_all_that_it_launched():
    drawn = drawn_by(Lead(by=2, burst=3), QUESTIONS[0].ended)
    assert (drawn.answer, drawn.samples, drawn.tokens) == ("1", 3, 15)


def test_hindsight_always_agrees_and_never_takes_more_than_a_rule_that_agrees():
    whole = figures(first_votes(SAMPLES), QUESTIONS)
    oracle = figures(hindsight, QUESTIONS)
    assert oracle.agrees.tolist() == [1.0] * len(QUESTIONS)
    own = figures(lambda ended, name: drawn_by(Lead(by=3), ended), QUESTIONS)
    assert (oracle.tokens <= own.tokens)[own.agrees == 1].all()
    found = compared(own, whole, oracle)
    assert found["tokens_ratio_interval"][0] <= found["tokens_ratio"]
    assert compared(whole, whole, oracle)["share_of_oracle_saving"] == 0
    assert compared(oracle, whole, oracle)["share_of_oracle_saving"] == 1


def test_fixed_numbers_do_not_beat_themselves():
    fixed = [figures(first_votes(n), QUESTIONS) for n in range(1, SAMPLES + 1)]
    for own in (fixed[0], fixed[6], fixed[-1]):
        assert against_fixed(own, fixed)["agrees"] == pytest.approx(0)
        assert against_fixed(own, fixed)["right_interval"] == pytest.approx([0, 0])


@pytest.mark.parametrize("tokens", [20, 150, 300, 600])
def test_a_budget_is_never_passed_and_hindsight_solves_most(tokens):
    policy = suite.first_success()
    for allocation in suite.allocations(QUESTIONS[:3]).values():
        spent = run_under(QUESTIONS, policy, allocation, tokens=tokens)
        assert spent.tokens.sum() <= tokens
        assert spent.solved.sum() <= best_split(QUESTIONS, tokens)


def test_without_a_limit_round_robin_solves_what_any_sample_solves():
    policy = suite.first_success()
    spent = run_under(QUESTIONS, policy, InTurn(), tokens=None)
    assert spent.solved.tolist() == [any(question.right) for question in QUESTIONS]
    split = equal_split(QUESTIONS, SAMPLES)
    assert np.array_equal(split.solved, spent.solved)
    assert split.tokens.sum() > spent.tokens.sum()
    assert spent.curve[-1] == (spent.tokens.sum(), spent.solved.sum())
    first = spent.tokens_until(1)
    assert spent.solved_at(first) >= 1 > spent.solved_at(first - 1)
    assert spent.tokens_until(len(QUESTIONS)) is None


def test_a_noisy_verifier_errs_as_often_as_told_and_alike_every_time():
    many = [question(f"q{i}", "12" * 8) for i in range(60)]
    policy = suite.first_success()
    exact, noisy, again = (
        run_under(many, policy, InTurn(), tokens=None, verifier=Known(many, flips))
        for flips in (0.0, 0.3, 0.3)
    )
    assert exact.solved.all()
    # The first answer is right and believed in 0.7; where both are doubted, the vote keeps it.
    assert 0.7 + 0.3**2 < noisy.solved.mean() < 1
    assert noisy.tokens.tolist() == again.tokens.tolist()


def test_the_models_own_verifier_passes_likely_answers():
    likely = [
        replace(sample, logprob=-0.1 * (1 + i % 4)) for i, sample in enumerate(QUESTIONS[0].ended)
    ]
    texts = [f"{i % 4}" for i in range(SAMPLES)]
    known = replace(
        QUESTIONS[0],
        ended=tuple(replace(s, text=t) for s, t in zip(likely, texts, strict=True)),
    )
    judge = Likely([known], -0.25)
    request = Request(id=known.id, prompt="")
    assert [judge.score(request, text, "1") for text in "0123"] == [1, 1, 0, 0]
    assert judge.score(request, "0", None) == 0


def test_runs_differ_between_orders_only_where_a_rule_looks_at_the_order():
    whole, first = (figures(first_votes(n), QUESTIONS) for n in (SAMPLES, 1))
    assert deviation(whole, 0) == 0
    assert deviation(first, 0) > 0


def test_costs_in_tokens_read_grow_with_what_is_written():
    law = PrefillEquivalents(step=10.0, context=0.1)
    few, many = (
        prefill_equivalents(figures(first_votes(n), QUESTIONS), QUESTIONS, law) for n in (1, 4)
    )
    assert few.tolist() == [pytest.approx(9 + 5 * (10 + 0.1 * (9 + 2.5)))] * len(QUESTIONS)
    assert many.tolist() == [pytest.approx(9 + 4 * (few[0] - 9))] * len(QUESTIONS)


@pytest.mark.parametrize(
    ("fixed", "lots", "beats"),
    [((0.1, -0.1), (0.1, 0.2), True), ((0.1, -0.1), (-0.1, 0.2), False), ((0, 0), (1, 1), False)],
)
def test_a_rule_must_beat_both_controls_in_the_same_thing(fixed, lots, beats):
    def gains(agrees, right):
        return {
            "agrees": agrees,
            "agrees_interval": [agrees, agrees],
            "right": right,
            "right_interval": [right, right],
        }

    assert verdict(gains(*fixed), gains(*lots))["beats_controls"] is beats


def test_no_policy_of_the_same_knowledge_passes_the_bounds():
    found = choices(QUESTIONS)
    tokens = sum(sum(q.tokens) + 9 for q in QUESTIONS)
    assert most_solved(found, tokens) == pytest.approx(4)  # of these, four have a right sample
    assert least_tokens(found, 4) < tokens
    assert least_in_vain(found, 4, tokens) >= least_in_vain(found, 3, tokens)
    assert most_solved(found, 0) == pytest.approx(0)
    easy = choices([QUESTIONS[0]])
    assert least_tokens(easy, 1) == pytest.approx(9 + 5)  # its first sample is right


def test_the_peers_package_runs_on_recorded_samples_and_its_cancelled_work_counts():
    pytest.importorskip("its_hub", reason="the peer's package is not installed")
    rules = its_hub_rules()
    sure, torn = question("sure", "1" * 16), question("torn", "1213" * 4)
    adaptive = rules["its-hub adaptive"](sure.ended, "")
    assert (adaptive.answer, adaptive.samples, adaptive.tokens) == ("1", 2, 10)
    assert rules["its-hub adaptive"](torn.ended, "").samples == 16
    lengths = [10, 3, 3, 3, 3, *[10] * 11]
    raced = rules["its-hub beta"](question("fast", "2111122222222222", lengths=lengths).ended, "")
    assert (raced.answer, raced.samples) == ("1", 16)  # four fast ones, the others cut off
    assert raced.tokens == 16 * 3


def test_the_cheapest_rule_is_chosen_where_it_is_as_often_right_and_judged_elsewhere():
    rules = {AtDial("votes", float(n)): first_votes(n) for n in (1, 2, 3, 8, 16)}
    late = [question("late", "2111111111111111"), question("later", "2121111111111111")]
    found = chosen_rules(rules, late[:1], late)["cheapest"]
    assert (found["name"], found["dial"]) == ("votes", 3.0)
    assert found["chosen_on"]["accuracy"] == found["chosen_on"]["accuracy_difference"] + 1 == 1
    assert found["chosen_on"]["questions"] == 1
    assert found["tokens_ratio"] == pytest.approx(3 / 16)
    assert found["accuracy"] < 1


def test_no_rule_is_chosen_where_none_is_as_often_right():
    found = chosen_rules({AtDial("votes", 1.0): first_votes(1)}, [QUESTIONS[1]], QUESTIONS)
    assert found["cheapest"]["name"] is None
    assert found["most_right"]["name"] == "votes"


def test_the_rule_that_is_right_most_often_within_a_share_is_chosen():
    rules = {AtDial("votes", float(n)): first_votes(n) for n in (1, 3, 7, 8, 16)}
    late = [question("late", "2211111111111111"), question("later", "2121111111111111")]
    found = chosen_rules(rules, late[:1], late)["most_right"]
    assert (found["name"], found["dial"]) == ("votes", 7.0)
    assert found["tokens_ratio"] == pytest.approx(7 / 16)
    assert found["chosen_on"]["accuracy"] == 1
