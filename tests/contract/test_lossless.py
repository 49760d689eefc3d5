"""Checks 1 and 2 of the method contract: the identity at dial 0, and lossless at every dial."""

from __future__ import annotations

import pytest

from contract.tiny_engine import DIALS, PROMPTS, card_of, counted, named, tokens_of
from laws import same_law
from rheostat.kernel.seams import Installed

LOSSLESS = named(lossless=True)
LOSSY = [n for seam in ("depth", "cache") for n in named(seam, lossless=False)]
DRAFTS = named("draft", lossless=True)


@pytest.mark.parametrize("name", named())
def test_dial_zero_gives_the_tokens_and_the_cost_of_the_base(bench, name):
    base, outputs = bench.reference(), bench.reference(**{name: 0.0})
    assert tokens_of(outputs) == tokens_of(base)
    assert [counted(o.cost) for o in outputs] == [counted(o.cost) for o in base]


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("dial", DIALS)
def test_a_lossless_method_keeps_the_greedy_tokens_at_every_dial(bench, name, dial):
    assert tokens_of(bench.reference(**{name: dial})) == tokens_of(bench.reference())


@pytest.mark.parametrize("draft", named("draft"))
def test_this_contract_sees_drafts_accepted_and_refused(bench, draft):
    installed = bench.installed(**{draft: 1.0})
    outputs = [bench.outputs(installed, [prompt], max_new_tokens=64)[0] for prompt in PROMPTS]
    assert any(o.trace.accepted > 0 for o in outputs)
    assert any(o.trace.accepted < o.trace.proposed for o in outputs)


@pytest.mark.parametrize("name", LOSSY)
def test_this_contract_sees_lossy_methods_change_the_tokens(bench, name):
    assert tokens_of(bench.reference(**{name: 1.0})) != tokens_of(bench.reference())


@pytest.mark.parametrize("depth", named("depth"))
@pytest.mark.parametrize("draft", named("draft", lossless=True))
@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0])
def test_a_lossless_method_keeps_the_tokens_of_the_same_plan_without_it(bench, draft, depth, dial):
    without = bench.reference(**{depth: 1.0})
    assert tokens_of(bench.reference(**{depth: 1.0, draft: dial})) == tokens_of(without)


@pytest.mark.parametrize("cache", named("cache"))
@pytest.mark.parametrize("draft", named("draft", lossless=True))
def test_drafts_keep_the_tokens_over_several_borders(bench, draft, cache):
    plain = bench.longer(**{cache: 0.7})
    drafted = bench.longer(**{cache: 0.7, draft: 1.0})
    assert tokens_of(drafted) == tokens_of(plain)
    assert sum(o.trace.proposed for o in drafted) > 0


@pytest.mark.parametrize("draft", named("draft", lossless=True))
@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_drafts_keep_the_tokens_under_a_repetition_penalty(bench, draft, penalty):
    plain, drafted, unpenalised = (
        [
            bench.outputs(one, [prompt], repetition_penalty=p, max_new_tokens=24)[0].token_ids
            for prompt in PROMPTS
        ]
        for one, p in (
            (Installed(), penalty),
            (bench.installed(**{draft: 1.0}), penalty),
            (Installed(), 1.0),
        )
    )
    assert drafted == plain != unpenalised


SOURCES = [n for n in named("draft", lossless=True) if not card_of(n).control]
CHAINS = [n for n in SOURCES if "#" not in n]
TREES = [next((v for v in reversed(SOURCES) if v.startswith(f"{n}#")), n) for n in CHAINS]
"""The same sources, each in the last of its variants."""


@pytest.mark.parametrize("mixture", [CHAINS, TREES], ids=["chains", "trees"])
def test_several_sources_together_keep_the_tokens_and_the_law(bench, shallow, mixture):
    both = dict.fromkeys(mixture, 1.0)
    assert len(both) > 1
    assert tokens_of(bench.reference(**both)) == tokens_of(bench.reference())
    prompts = ["the cat and the cat and the cat"] * 200
    sampling = {"max_new_tokens": 12, "temperature": 0.5, "top_k": 2}
    plain, drafted = (
        shallow.outputs(one, prompts, **sampling)
        for one in (Installed(), shallow.installed(**both))
    )
    assert sum(o.trace.accepted for o in drafted) > 30
    assert same_law(*([o.token_ids[5:][:1] for o in made] for made in (plain, drafted)))


@pytest.mark.parametrize("name", DRAFTS)
def test_sampling_keeps_its_law(shallow, name):
    prompts = ["the cat and the cat and the cat"] * 200
    sampling = {"max_new_tokens": 12, "temperature": 0.5, "top_k": 2}
    plain = shallow.outputs(Installed(), prompts, **sampling)
    drafted = shallow.outputs(shallow.installed(**{name: 1.0}), prompts, **sampling)
    assert sum(o.trace.accepted for o in drafted) > 30
    assert sum(o.trace.proposed - o.trace.accepted for o in drafted) > 30
    for place in (2, 5, 11):
        assert same_law(*([o.token_ids[place:][:1] for o in made] for made in (plain, drafted)))
