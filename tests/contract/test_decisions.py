"""Checks 3, 5, 6 and 7 of the contract: monotone, causal, alone in a batch, plain data."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from contract.tiny_engine import (
    DIALS,
    EVICTING,
    PROMPTS,
    Everything,
    card_of,
    counted,
    decisions,
    named,
    tokens_of,
)
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.plan import Plan
from rheostat.kernel.policies.draft_control import ALLOWANCE, START
from rheostat.kernel.seams import DraftStart, Installed

TEXT = np.random.default_rng(1).integers(10, 290, 64).tolist()


@pytest.mark.parametrize("name", named("depth"))
def test_a_higher_dial_costs_no_more(bench, name):
    prices = [bench.score(bench.installed(**{name: d}), TEXT).cost.price for d in DIALS]
    assert all(after <= 1.01 * before for before, after in itertools.pairwise(prices))
    assert prices[-1] < prices[0]


@pytest.mark.parametrize("name", EVICTING)
def test_fewer_entries_cost_less_after_the_prompt(wide, name):
    """Against the base in the same passes, on a model whose products are no dearer than usual."""
    text = [*TEXT, *TEXT[::-1], *TEXT, *TEXT[::-1]]

    def price(installed):
        whole, prompt = (wide.score(installed, text[:end], prompt=200).cost for end in (256, 201))
        return whole.price - prompt.price

    prices = [price(Installed(cache=CachePlan(Everything())))]
    prices += [price(wide.installed(**{name: d})) for d in DIALS[1:]]
    assert all(after <= 1.01 * before for before, after in itertools.pairwise(prices))
    assert prices[-1] < prices[0]


@pytest.mark.parametrize("name", named("cache", lossless=False))
def test_a_cache_takes_fewer_bytes_at_a_higher_dial(bench, name):
    text = [*TEXT, *TEXT[::-1]]
    taken = [bench.score(bench.installed(**{name: d}), text).trace.cache_bytes for d in DIALS]
    assert taken == sorted(taken, reverse=True)
    assert taken[-1] < taken[0] / 2


@pytest.mark.parametrize("name", [n for n in named("draft") if not card_of(n).control])
@pytest.mark.parametrize("dial", DIALS)
def test_drafts_of_a_single_row_cost_at_most_the_allowance_more_than_the_base(bench, name, dial):
    installed, step = bench.installed(**{name: dial}), bench.step_seconds()
    copies = installed.models is None
    for prompt in PROMPTS:
        plain, drafted = (
            bench.outputs(one, [prompt], max_new_tokens=48)[0].cost.price
            for one in (Installed(), installed)
        )
        # copies are scored without being drafted, so they never use up their credit
        assert drafted <= (1.03 * plain if copies else (1 + ALLOWANCE) * plain + START * step)


@pytest.mark.parametrize("name", [*named("depth"), *named("cache")])
@pytest.mark.parametrize("changed", [9, 30, 63])
def test_later_tokens_leave_earlier_results_unchanged(bench, name, changed):
    installed = bench.installed(**{name: 1.0})
    other = [*TEXT[:changed], *((t + 7) % 290 for t in TEXT[changed:])]
    first, second = bench.score(installed, TEXT), bench.score(installed, other)
    seen = changed - 8  # the prompt's tokens have no entry
    assert np.allclose(first.nats[:seen], second.nats[:seen], atol=1e-5)
    assert (first.choice[: seen + 1] == second.choice[: seen + 1]).all()


@pytest.mark.parametrize("name", named("draft"))
def test_later_tokens_leave_earlier_drafts_unchanged(bench, name):
    drafter = bench.installed(**{name: 1.0}).draft
    text = [*TEXT[:20], *TEXT[:20], *TEXT[:10]]

    def cheap(n, context):
        return 1 + n / 99

    def drafts(written):
        start = DraftStart(prompt=text[:25], special=frozenset(), step_seconds=cheap)
        state, made = drafter.start(start), []
        for token in written:
            made.append(list(drafter.propose(state, 8)))
            state = drafter.commit(state, [token])
        return made

    assert drafts(text[25:])[:11] == drafts([*text[25:35], 5, 6, 7])[:11]


@pytest.mark.parametrize("name", named())
def test_a_row_is_not_changed_by_its_neighbours(bench, name):
    installed = bench.installed(**{name: 1.0})
    together = bench.reference(**{name: 1.0})
    alone = [bench.outputs(installed, [prompt])[0] for prompt in PROMPTS]
    assert tokens_of(together) == tokens_of(alone)
    # a draft's length pays for the pass that rows share
    if card_of(name).seam != "draft":
        assert [decisions(o) for o in together] == [decisions(o) for o in alone]


@pytest.mark.parametrize("name", named())
def test_a_plan_that_went_through_json_decides_the_same(bench, name):
    plan = bench.plan(**{name: 0.75})
    read = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert read.to_json() == plan.to_json()
    first, second = bench.reference(**{name: 0.75}), bench.outputs(bench.of(read))
    assert [decisions(o) for o in first] == [decisions(o) for o in second]
    assert [counted(o.cost) for o in first] == [counted(o.cost) for o in second]


@pytest.mark.parametrize("name", named())
def test_the_same_seed_gives_the_same_decisions(bench, name):
    installed = bench.installed(**{name: 1.0})
    first, second = (bench.outputs(installed, temperature=0.8, seed=7) for _ in range(2))
    assert tokens_of(first) == tokens_of(second)
    assert [decisions(o) for o in first] == [decisions(o) for o in second]
