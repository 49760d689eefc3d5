"""The oracle's part of a plan: under what was chosen, over nothing, and said in words."""

from __future__ import annotations

import json

import pytest

from rheostat.kernel.plan import Setting
from rheostat.stages.oracle import per_text, sentences
from rheostat.stages.plan import make_plan
from rheostat.stages.search import Point
from stages.conftest import CERTIFIED, LIMIT

DROP = Setting(name="llm_drop", dial=0.1)
DRAFT = Setting(name="copyspec", dial=1.0)


def point(*settings, price, losses):
    return Point(settings=settings, price_ratio=price, loss=sum(losses) / 4, losses=losses)


BASE = Point(losses=(0.0,) * 4)
GENTLE = point(DROP, price=0.8, losses=(0.0, 0.0, 0.2, 0.2))
HARSH = point(Setting(name="llm_drop", dial=0.5), price=0.5, losses=(0.0, 0.4, 0.4, 0.4))


def test_the_best_setting_of_every_text_by_hand():
    found = per_text([BASE, GENTLE, HARSH], 0.0, BASE)
    assert found["oracle"] == pytest.approx((0.5 + 0.8 + 1 + 1) / 4)
    assert found["plan_share"] == found["static_share"] == 0.0
    assert found["settings"] == 3
    wider = per_text([BASE, GENTLE, HARSH], 0.2, GENTLE)
    assert wider["oracle"] == pytest.approx((0.5 + 0.8 + 0.5 + 0.5) / 4)
    assert (wider["static"], wider["random"]) == pytest.approx((0.8, 0.65))
    assert wider["plan_share"] == wider["static_share"] < wider["random_share"] < 1


def test_settings_that_were_not_measured_on_every_text_are_left_out():
    broken_off = point(Setting(name="llm_drop", dial=1.0), price=0.1, losses=(0.0,))
    assert per_text([BASE, GENTLE, broken_off], 0.0, BASE)["settings"] == 2
    assert per_text([BASE], 0.1, BASE) is None


def test_drafts_lose_nothing_in_units_of_any_number_of_texts():
    draft = Point(settings=(DRAFT,), price_ratio=0.7, losses=(0.0,) * 9)
    found = per_text([BASE, draft, GENTLE, HARSH], 0.0, draft)
    assert found["oracle"] == pytest.approx((0.5 + 0.7 + 0.7 + 0.7) / 4)
    assert 0 < found["plan_share"] < 1


def test_a_plan_says_how_much_of_the_oracles_saving_it_reaches(tiny, corpora):
    plan = make_plan(tiny, corpora[0], max_loss=LIMIT, **CERTIFIED)
    found = plan.predicted["oracle"]
    assert found["texts"]["plan"] == plan.predicted["price_ratio"]
    assert found["texts"]["oracle"] <= found["texts"]["static"] <= 1.0
    assert any(sentence.startswith("in hindsight: taking the best of") for sentence in plan.why)
    json.dumps(found, allow_nan=False)


def test_a_lossless_plan_is_held_against_perfect_drafts(copying):
    engine, workload = copying
    plan = make_plan(engine, workload, lossless=True)
    found = plan.predicted["oracle"]
    assert found["texts"] is None
    drafts = found["drafts"]
    assert drafts["by_lot_share"] <= drafts["best_fixed_share"] <= 1
    assert 0 < drafts["oracle_share"] <= 1
    assert any("had every draft had the best length" in sentence for sentence in plan.why)


def test_where_nothing_was_chosen_nothing_is_said(inventing):
    engine, workload = inventing
    plan = make_plan(engine, workload, lossless=True)
    assert plan.predicted["oracle"] == {"texts": None, "drafts": None}
    assert sentences(plan.predicted["oracle"]) == []
