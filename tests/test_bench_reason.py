"""The suite `reason` on made-up recordings: costs, frontiers and choices that can be checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.bench import reason as suite
from rheostat.bench.journal import Journal
from rheostat.bench.reason_frontier import cheapest, hull, over, reached_at
from rheostat.bench.reason_replay import (
    COSTS,
    Found,
    Pace,
    Prices,
    found,
    hindsight_of,
    priced,
    replayed,
)
from rheostat.bench.solve import decision
from rheostat.bench.solve_recordings import DTYPE, SAMPLES
from rheostat.engines.sample_store import StoredSample
from rheostat.kernel.cost import Cost
from rheostat.kernel.model_cost import ModelShape, PriceTable
from rheostat.kernel.samples import Ended
from rheostat.stages.recorded import Recorded
from rheostat.stages.sample_costs import steps_of
from rheostat.stages.sample_rules import Choice

SHAPE = ModelShape(
    layers=2, width=8, heads=2, kv_heads=1, head_size=4, inner=16, vocabulary=50, context=99
)
RULES = [("agreement", 0.05, 0.05), ("random_stop", 0.5, 0.5), ("urn", 0.1, 0.1)]
PROMPT, READ = 9, 0.5
"""Tokens of every prompt, and the seconds of reading one."""


def prices(step):
    """A table in which a step of a row takes as long as said, and half of it beside others."""
    flat = PriceTable(
        tokens=(1, 32),
        contexts=(1,),
        attention=((0.0, 0.0),),
        mlp=(0.0, 0.0),
        head=(step, 16 * step),
        fixed=0.0,
    )
    return Prices(shape=SHAPE, table=flat, pace=Pace(prompt=READ, step=step))


def question(name, answers, *, right="1", new=5):
    """A question whose samples answer as written, one letter each."""
    samples = tuple(
        StoredSample(
            question=name,
            index=i,
            text=answer,
            answer=answer,
            token_ids=(),
            stop_reason="eos",
            temperature=0.7,
            cost=Cost(
                prompt_tokens=PROMPT * (i == 0),
                new_tokens=new,
                calls=new + (i == 0),
            ),
        )
        for i, answer in enumerate(answers)
    )
    return Recorded(
        id=name,
        task="t",
        text=name,
        ended=tuple(Ended(index=i, answer=a, tokens=new) for i, a in enumerate(answers)),
        right=tuple(answer == right for answer in answers),
        samples=samples,
    )


ANSWERS = {
    "sure": "1111111111111111",
    "late": "2211111111111111",
    "wrong": "3333333333333333",
    "torn": "1213121312131213",
}
QUESTIONS = [question(name, answers) for name, answers in ANSWERS.items()]
DEAR = priced(DTYPE, QUESTIONS, prices(0.25))
CHEAP = priced("gguf", [*QUESTIONS[:3], question("torn", "3213323133213213")], prices(0.125))


def fixed(samples, recorded=DEAR):
    return replay(Choice(recorded.dtype, "majority", 0.0, samples), recorded)


def replay(choice, recorded=DEAR):
    made = replayed(decision(choice.rule, choice.dial), choice.samples, recorded.questions)
    return found(choice, made, recorded)


def test_a_prompt_is_paid_once_and_samples_by_what_was_launched():
    for n in (1, 7, SAMPLES):
        own = fixed(n)
        assert own.samples.tolist() == [n] * len(QUESTIONS)
        assert own.costs["tokens"].tolist() == [PROMPT + 5 * n] * len(QUESTIONS)
        assert own.costs["processor_seconds"] == pytest.approx([READ + 0.25 * 5 * n] * 4)
        reading = own.costs["one_by_one"] - 0.25 * 5 * n
        assert own.costs["side_by_side"] - reading == pytest.approx(0.125 * 5 * n)


def test_a_token_costs_what_it_was_measured_to():
    assert {steps_of(s) for q in QUESTIONS for s in q.samples} == {5}
    told = suite.told(DEAR)
    assert told["right_samples"] == pytest.approx((16 + 14 + 0 + 8) / 64)
    assert told["a_token"] == pytest.approx(
        {"side_by_side": 0.125, "one_by_one": 0.25, "processor_seconds": 0.25}
    )


def test_a_rule_under_fewer_samples_never_launches_more():
    for rule in ("agreement", "urn", "lead_margin"):
        card_dial = {name: usual for name, _, usual in suite.rule_settings()}[rule]
        for n in (4, 8):
            own = replay(Choice(DTYPE, rule, card_dial, n))
            assert (own.samples <= n).all()
            assert (own.costs["tokens"] <= fixed(n).costs["tokens"]).all()


@pytest.mark.parametrize("cost", COSTS)
def test_hindsight_keeps_the_base_and_costs_no_more_than_any_fixed_number_that_does(cost):
    base, oracle = fixed(SAMPLES), hindsight_of([DEAR, CHEAP], cost)
    assert (oracle.right >= base.right).all()
    for recorded in (DEAR, CHEAP):
        for n in range(1, SAMPLES + 1):
            own = fixed(n, recorded)
            kept = own.right == 1
            assert (oracle.costs[cost][kept] <= own.costs[cost][kept] + 1e-9).all()
    assert (oracle.costs[cost] <= base.costs[cost]).all()


def made(points):
    """Settings of three questions at (cost, accuracy)."""
    return [
        Found(
            choice=Choice(DTYPE, "majority", float(i), 1),
            right=np.full(3, accuracy),
            samples=np.ones(3),
            costs={"tokens": np.full(3, cost)},
        )
        for i, (cost, accuracy) in enumerate(points)
    ]


POINTS = st.lists(
    st.tuples(st.integers(1, 20).map(float), st.integers(0, 20).map(lambda x: x / 20)),
    min_size=1,
    max_size=8,
)


@given(POINTS, st.floats(0, 25))
def test_a_frontier_is_the_best_mixture_of_two_settings_or_of_one_and_nothing(points, at):
    ends = [(0.0, 0.0), *points]
    best = (
        max(
            low[1] + (high[1] - low[1]) * (at - low[0]) / (high[0] - low[0])
            for low in ends
            for high in ends
            if low[0] <= at < high[0]
        )
        if any(cost > at for cost, _ in ends)
        else 0.0
    )
    best = max([best, *(accuracy for cost, accuracy in ends if cost <= at)])
    assert reached_at(made(points), "tokens", at)[0] == pytest.approx(best, abs=1e-9)


@given(POINTS)
def test_no_setting_lies_above_its_own_frontier(points):
    settings = made(points)
    assert all(over(own, settings, "tokens")["lies"] != "above" for own in settings)
    stands = hull(settings, "tokens")
    assert [s.right[0] for s in stands] == sorted({s.right[0] for s in stands})
    assert all(over(own, settings, "tokens")["lies"] == "on" for own in stands)


def test_the_cheapest_setting_within_the_limit_is_chosen():
    base, near, far = made([(10.0, 0.6), (5.0, 0.58), (1.0, 0.5)])
    settings = [base, near, far]
    assert [cheapest(settings, base, "tokens", loss=x) for x in (0.0, 0.02, 0.1)] == settings


def test_plans_are_chosen_on_other_questions_than_those_they_are_shown_on(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "NUMBERS", (8, SAMPLES))
    monkeypatch.setattr(suite, "FORMATS", (DTYPE, "gguf"))
    monkeypatch.setattr(suite, "rule_settings", lambda: RULES)
    journal = Journal(tmp_path / "journal.json")
    every = suite.replays([DEAR, CHEAP], "before", journal, print)
    chosen = suite.chosen_from(every)
    assert [(plan["by"], plan["limit"]) for plan in chosen] == [
        (cost, limit) for cost in suite.CHOSEN_BY for limit in suite.LIMITS
    ]
    assert all(plan["choice"]["rule"] != "random_stop" for plan in chosen)
    again = suite.replays([DEAR, CHEAP], "before", Journal(tmp_path / "journal.json"), print)
    assert suite.chosen_from(again) == chosen
    others = [replace(q, id=f"other {q.id}") for q in QUESTIONS]
    formats = [priced(DTYPE, others, prices(0.25)), priced("gguf", others, prices(0.125))]
    shown = suite.shown_on(formats, suite.replays(formats, "shown", journal, print), chosen)
    for before, after in zip(chosen, shown["plans"], strict=True):
        assert before.items() <= after.items()
        assert set(after["over_singles"]) == {"precision", "samples", "agreement", "urn"}
        assert after["share_of_oracle_saving"] <= 1 + 1e-9
    assert shown["base"]["ratios"]["tokens"]["ratio"] == 1
    assert {own["rule"] for own in shown["lots"]} == {"random_stop"}


def test_a_verdict_names_what_a_plan_lies_below():
    def plan(limit, low, high):
        lies = "below" if high < 0 else "on"
        gain = {"gain": (low + high) / 2, "interval": [low, high], "lies": lies}
        return {"by": "tokens", "limit": limit, "over_singles": {"urn": gain}}

    assert suite.verdict([plan(0.1, -0.02, 0.01)], "tokens") == {
        "holds": True,
        "evidence": "accuracy at equal cost, the least gain of all: -0.005 (-0.020 to +0.010) over "
        "urn within 0.1",
    }
    below = suite.verdict([plan(0.1, -0.02, 0.01), plan(0.2, -0.04, -0.02)], "tokens")
    assert not below["holds"]
    assert "-0.030 (-0.040 to -0.020) over urn within 0.2" in below["evidence"]
