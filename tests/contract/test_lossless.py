"""Checks 1 and 2 of the method contract: the identity at dial 0, and lossless at every dial."""

from __future__ import annotations

from collections import Counter

import pytest
from scipy.stats import chi2_contingency

from contract.tiny_engine import DIALS, counted, named, tokens_of
from rheostat.kernel.seams import Installed

LOSSLESS = named(lossless=True)
LOSSY = named(lossless=False)


@pytest.fixture(scope="module")
def base(bench):
    return bench.outputs(Installed(), max_new_tokens=48)


@pytest.mark.parametrize("name", named())
def test_dial_zero_gives_the_tokens_and_the_cost_of_the_base(bench, base, name):
    outputs = bench.outputs(bench.installed(**{name: 0.0}), max_new_tokens=48)
    assert tokens_of(outputs) == tokens_of(base)
    assert [counted(o.cost) for o in outputs] == [counted(o.cost) for o in base]


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("dial", DIALS)
def test_a_lossless_method_keeps_the_greedy_tokens_at_every_dial(bench, base, name, dial):
    outputs = bench.outputs(bench.installed(**{name: dial}), max_new_tokens=48)
    assert tokens_of(outputs) == tokens_of(base)


@pytest.mark.parametrize("draft", named("draft"))
def test_drafts_are_verified_in_this_contract(bench, draft):
    outputs = bench.outputs(bench.installed(**{draft: 1.0}), max_new_tokens=48)
    assert any(o.trace.accepted > 0 for o in outputs)
    assert any(o.trace.accepted < o.trace.proposed for o in outputs)


@pytest.mark.parametrize("depth", named("depth"))
@pytest.mark.parametrize("draft", named("draft", lossless=True))
@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0])
def test_a_lossless_method_keeps_the_tokens_of_the_same_plan_without_it(bench, draft, depth, dial):
    without = bench.outputs(bench.installed(**{depth: 0.5}), max_new_tokens=32)
    both = bench.outputs(bench.installed(**{depth: 0.5, draft: dial}), max_new_tokens=32)
    assert tokens_of(both) == tokens_of(without)
    assert sum(o.trace.mlp_skipped for o in without) == 0 or any(o.trace.mlp_skipped for o in both)


@pytest.mark.parametrize("name", LOSSLESS)
def test_sampling_keeps_its_law(shallow, name):
    prompts = ["the cat and the cat and the cat"] * 400
    sampling = {"max_new_tokens": 12, "temperature": 0.5, "top_k": 2}
    plain = shallow.outputs(Installed(), prompts, **sampling)
    drafted = shallow.outputs(shallow.installed(**{name: 1.0}), prompts, **sampling)
    assert sum(o.trace.accepted for o in drafted) > 50
    assert sum(o.trace.proposed - o.trace.accepted for o in drafted) > 50
    for place in (5, 11):
        assert same_law(*([o.token_ids[place:][:1] for o in made] for made in (plain, drafted)))


def same_law(first, second):
    """A chi-square test of homogeneity; rare values share a cell."""
    counts = [Counter(first), Counter(second)]
    common = [v for v in counts[0] | counts[1] if counts[0][v] + counts[1][v] >= 20]
    table = [[c[v] for v in common] for c in counts]
    rest = [sum(c.values()) - sum(row) for c, row in zip(counts, table, strict=True)]
    if sum(rest) >= 20:
        table = [[*row, others] for row, others in zip(table, rest, strict=True)]
    return chi2_contingency(table).pvalue > 0.001
