"""Check 4 of the contract: what was executed, counted from outside, is what the ledger says."""

from __future__ import annotations

import pytest

from contract.outside_count import OutsideCount
from contract.tiny_engine import EVICTING, PROMPTS, Everything, named
from rheostat.kernel.cost import total
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.seams import Installed

SEAMS = (("draft", "depth"), ("draft", "cache"), ("depth", "cache"))
PAIRS = [{one: 1.0, other: 1.0} for a, b in SEAMS for one in named(a) for other in named(b)]
ALONE = [{name: 1.0} for name in named()]


def balanced(outside, cost):
    assert outside.flops > 0
    assert cost.flops == pytest.approx(outside.flops, rel=0.01)
    assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)


@pytest.mark.parametrize("dials", [{}, *ALONE, *PAIRS], ids=" ".join)
def test_the_books_of_a_batch_balance(bench, dials):
    installed = bench.installed(**dials)
    with OutsideCount() as outside:
        outputs = bench.outputs(installed)
    balanced(outside, total(o.cost for o in outputs))


@pytest.mark.parametrize("name", named())
def test_the_books_of_a_single_request_balance(bench, name):
    installed = bench.installed(**{name: 1.0})
    with OutsideCount() as outside:
        outputs = bench.outputs(installed, PROMPTS[:1])
    balanced(outside, outputs[0].cost)


@pytest.mark.parametrize("name", [*named("depth"), *named("cache")])
def test_the_books_of_a_scoring_balance(bench, name):
    with OutsideCount() as outside:
        scored = bench.score(bench.installed(**{name: 1.0}), list(range(20, 60)))
    balanced(outside, scored.cost)


@pytest.mark.parametrize("name", EVICTING)
def test_fewer_keys_and_values_are_read(bench, name):
    read = []
    for installed in (Installed(cache=CachePlan(Everything())), bench.installed(**{name: 1.0})):
        with OutsideCount() as outside:
            bench.score(installed, list(range(20, 290)), prompt=200)
        read.append(outside.cached)
    assert read[1] < 0.5 * read[0]


@pytest.mark.parametrize("name", named("depth"))
def test_skipped_work_is_not_executed(bench, name):
    executed = []
    for installed in (Installed(), bench.installed(**{name: 1.0})):
        with OutsideCount() as outside:
            bench.score(installed, list(range(20, 60)))
        executed.append(outside.flops)
    assert executed[1] < executed[0]
