"""The contract of the `stop` seam: rows end earlier and are never written otherwise."""

from __future__ import annotations

from itertools import pairwise

import pytest

from contract.tiny_engine import DIALS, PROMPTS, counted, named, tokens_of
from rheostat.errors import MethodError
from rheostat.kernel.budget import Caps
from rheostat.kernel.ledger import Ledger
from rheostat.workloads.constraints import wanted

STOP = named("stop")
LONG = {"max_new_tokens": 96}


def new_tokens(outputs):
    return sum(len(output.token_ids) for output in outputs)


@pytest.fixture(scope="module")
def natural(bench):
    """The base, long enough for the tiny model to loop."""
    return bench.outputs(bench.installed(), **LONG)


@pytest.mark.parametrize("name", STOP)
def test_dial_zero_is_the_natural_end(bench, natural, name):
    outputs = bench.outputs(bench.installed(**{name: 0.0}), **LONG)
    assert tokens_of(outputs) == tokens_of(natural)
    assert [counted(o.cost) for o in outputs] == [counted(o.cost) for o in natural]


@pytest.mark.parametrize("name", STOP)
@pytest.mark.parametrize("dial", DIALS)
def test_what_is_written_is_the_bases_and_what_is_not_is_not_paid(bench, natural, name, dial):
    outputs = bench.outputs(bench.installed(**{name: dial}), **LONG)
    for own, base in zip(outputs, natural, strict=True):
        assert base.token_ids[: len(own.token_ids)] == own.token_ids
        assert base.text.startswith(own.text)
        assert own.cost.new_tokens == len(own.token_ids)
        cut = len(own.token_ids) < len(base.token_ids)
        assert own.stop_reason == ("stop" if cut else base.stop_reason)
        assert not cut or own.cost.flops < base.cost.flops


@pytest.mark.parametrize("name", STOP)
def test_a_higher_dial_writes_no_more(bench, natural, name):
    per_dial = [
        [len(o.token_ids) for o in bench.outputs(bench.installed(**{name: dial}), **LONG)]
        for dial in DIALS
    ]
    for before, after in pairwise(per_dial):
        assert all(a <= b for a, b in zip(after, before, strict=True))
    if name != "first_solution":  # the tiny model writes no sentences
        assert sum(per_dial[-1]) < new_tokens(natural)


@pytest.mark.parametrize("name", STOP)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_does_not_depend_on_its_neighbours(bench, name, temperature):
    installed, how = bench.installed(**{name: 1.0}), {"temperature": temperature, **LONG}
    together = bench.outputs(installed, **how)
    assert tokens_of(together) == tokens_of(bench.outputs(installed, **how))
    (alone,) = bench.outputs(installed, PROMPTS[:1], **how)
    assert tokens_of([alone]) == tokens_of(together[:1])


@pytest.mark.parametrize("draft", named("draft", lossless=True))
@pytest.mark.parametrize("name", STOP)
def test_drafts_end_at_the_same_token(bench, name, draft):
    plain = bench.outputs(bench.installed(**{name: 1.0}), **LONG)
    drafted = bench.outputs(bench.installed(**{name: 1.0, draft: 1.0}), **LONG)
    assert tokens_of(drafted) == tokens_of(plain)


@pytest.mark.parametrize("name", STOP)
def test_a_budget_is_kept_and_what_is_not_used_is_given_back(bench, name):
    ledger = Ledger(Caps(tokens=200))
    outputs = bench.outputs(bench.installed(**{name: 1.0}), ledger=ledger, **LONG)
    assert ledger.spent.tokens <= 200
    assert ledger.spent.new_tokens == new_tokens(outputs)
    assert ledger.reserved.tokens == 0


@pytest.mark.parametrize("name", STOP)
def test_particles_are_whole_answers(bench, name):
    how = {"particles": 2, "temperature": 1.0, "constraint": wanted(lambda text: True)}
    with pytest.raises(MethodError, match="whole answers"):
        bench.outputs(bench.installed(**{name: 1.0}), PROMPTS[:1], **how)
