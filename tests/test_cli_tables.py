"""What commands say of their results: in plain words, and never more than was measured."""

from __future__ import annotations

import pytest

from rheostat.cli_tables import plan_lines, report_lines, run_lines
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.intervals import FEW

DROPS = Setting(name="llm_drop", dial=0.3, params={"unit": "attention"})
SUFFIX = Setting(name="suffix", dial=0.75)
COST = {
    "prompt_tokens": 9,
    "new_tokens": 4,
    "flops": 1e9,
    "bytes": 1e9,
    "calls": 5,
    "price": 0.5,
    "seconds": 0.5,
}


def plan_of(items: int) -> Plan:
    methods = [setting.to_json() for setting in (DROPS, SUFFIX)]
    point = {"methods": methods, "price_ratio": 0.5, "loss": 0.0, "loss_interval": [0.0, 0.0]}
    measured = {
        "loss_items": items,
        "items": items,
        "loss": 0.0,
        "loss_kind": "disagree",
        "loss_interval": [0.0, 0.0],
        "exact_match": 1.0,
        "price_ratio": 0.5,
        "seconds_ratio": 0.6,
    }
    predicted = {"frontier": [point | {"items": items, "kept": True}]}
    return Plan(model="m", methods=(DROPS, SUFFIX), predicted=predicted, measured=measured)


def shown(plan: Plan) -> tuple[str, str]:
    table, *lines = plan_lines(plan, "plan.json")
    return " ".join(str(cell) for column in table.columns for cell in column.cells), "\n".join(
        map(str, lines)
    )


@pytest.mark.parametrize("items", [1, 2, FEW - 1])
def test_a_plan_of_few_items_claims_no_interval_and_warns(items):
    table, lines = shown(plan_of(items))
    assert "0.0000 to 0.0000" not in table + lines
    assert f"only {items} item{'s' if items > 1 else ''}: take what was measured as rough" in lines


def test_a_plan_of_enough_items_has_its_interval_and_no_warning():
    table, lines = shown(plan_of(FEW))
    assert "0.0000 to 0.0000" in table
    assert "95 % interval 0.0000 to 0.0000" in lines
    assert "rough" not in lines


def test_items_and_the_share_of_same_answers_do_not_read_as_one_number():
    _, lines = shown(plan_of(4))
    assert "100 % of the answers to 4 items are the same" in lines
    assert "4 100" not in lines


def test_one_item_is_not_called_items():
    assert "on 1 held-out item: " in shown(plan_of(1))[1]


def test_a_method_is_shown_with_its_parameters_wherever_it_stands():
    named, plan = "llm_drop=0.3 (unit=attention) + suffix=0.75", plan_of(4)
    table, lines = shown(plan)
    assert named in table
    assert lines.splitlines()[-1] == f"wrote plan.json: {named}"
    methods = [setting.to_json() for setting in plan.methods]
    assert named in run_lines(ran(methods))[0]
    run = {
        "label": "a",
        "methods": methods,
        "cost": COST,
        "speed_ratio": None,
        "exact_match": None,
        "speed_interval": None,
    }
    summary = {"runs": [run], "headlines": [], "notices": [], "report": "r"}
    assert named in " ".join(map(str, report_lines(summary)[0].columns[-1].cells))


def ran(methods, **more):
    summary = {
        "model": "m",
        "dtype": "float32",
        "methods": methods,
        "requests": 1,
        "resumed": 0,
        "stop_reasons": {"eos": 1},
        "cost": COST,
        "out": "o",
    }
    return summary | more


def test_what_an_engine_does_not_count_is_left_out():
    nothing = COST | {"flops": 0.0, "bytes": 0.0, "price": 0.0}
    assert run_lines(ran([], cost=nothing))[2] == (
        "9 prompt and 4 new tokens, 5 calls, measured 0.50 s (8.0 new tokens/s)"
    )
    assert "1.00 GFLOP and 1.00 GB in 5 passes, price 0.50 s" in run_lines(ran([]))[2]


def test_counts_of_a_report_are_written_one_way():
    one = {"label": "a", "rule": "mode", "samples": 1, "right": None, "right_interval": None}
    run = one | {"cost": {"prompt_tokens": 1000, "new_tokens": 104}}
    heads = ["a: 1 of 1 question settled, 1\u202f104 tokens"]
    lines = report_lines({"questions": 1, "headlines": heads, "runs": [run], "report": "r"})
    assert lines[:2] == [heads[0].replace("\u202f", " "), "a, mode: 1 sample, 1 104 tokens"]


def test_one_request_is_not_called_requests():
    assert run_lines(ran([]))[1].startswith("1 request answered: ")
    assert run_lines(ran([], requests=2))[1].startswith("2 requests answered: ")
