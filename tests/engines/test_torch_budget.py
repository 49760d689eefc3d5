"""The books of the `torch` engine: what was executed, never over a cap, nothing left reserved."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.outside_count import OutsideCount
from engines.torch_rig import (
    PRICES,
    ToyDrafter,
    engine_of,
    outputs,
    requests,
    tokens_of,
    with_policy,
)
from rheostat.engines.base import Sampling
from rheostat.engines.torch_matrix import Forms, candidates
from rheostat.engines.torch_prices import most_seconds
from rheostat.errors import WorkloadError
from rheostat.kernel.budget import Caps
from rheostat.kernel.cost import total
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.model_cost import PriceTable
from rheostat.kernel.seams import Depth, Installed, Layout

few = settings(max_examples=15)
LONG = "the cat and the hat or a star " * 24
PROMPTS = ("the cat and the hat", "z", LONG, "or is it a planet?")
REPEATING = ToyDrafter(lambda tokens, limit: tokens[-5:])
DROPPED = Layout.full(5).without(attention=[0, 3], mlp=[1])

# `packed32` is left out: it reads bfloat16 weights widened to float32, the books count the model's
FORMS = [
    (dtype, form)
    for dtype in (torch.float32, torch.bfloat16)
    for form in candidates(dtype)
    if form != "packed32"
]


@pytest.fixture(scope="module")
def engine(deep_loaded):
    return engine_of(deep_loaded)


@pytest.fixture(scope="module")
def base(engine):
    return outputs(engine, PROMPTS, max_new_tokens=12)


def plans(model):
    """Base, drafts, static and dynamic depth, and all together."""
    policy = with_policy(model, lambda layer, index: (layer + index) % 3).policy
    every_second = with_policy(model, lambda layer, index: index % 2 == 0)
    return {
        "base": Installed(),
        "drafts": Installed(draft=REPEATING),
        "static": Installed(depth=Depth(DROPPED)),
        "second": Installed(depth=every_second),
        "none": Installed(depth=with_policy(model, lambda layer, index: False)),
        "all": Installed(depth=Depth(DROPPED, policy), draft=REPEATING),
    }


def balanced(outside, cost):
    assert outside.flops > 0
    assert cost.flops == pytest.approx(outside.flops, rel=0.01)
    assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS[2:3], PROMPTS], ids=len)
@pytest.mark.parametrize("plan", ["base", "drafts", "static", "second", "none", "all"])
def test_executed_work_is_what_the_books_say(engine, plan, prompts):
    installed = plans(engine.llama)[plan]
    with OutsideCount() as outside:
        made = outputs(engine, prompts, installed=installed, max_new_tokens=12)
    balanced(outside, total(output.cost for output in made))


@pytest.mark.parametrize(("dtype", "form"), FORMS, ids=str)
def test_the_books_do_not_depend_on_the_form_of_the_weights(deep_loaded, dtype, form):
    engine = engine_of(deep_loaded, dtype=dtype, forms=Forms("plain", form, 1))
    with OutsideCount() as outside:
        made = outputs(engine, PROMPTS, installed=Installed(draft=REPEATING), max_new_tokens=12)
    balanced(outside, total(output.cost for output in made))


@pytest.mark.parametrize("plan", ["base", "second", "all"])
def test_the_books_of_a_scoring_balance(engine, plan):
    installed = plans(engine.llama)[plan]
    with OutsideCount() as outside:
        scored = engine.score([*range(10, 280)], [*range(20, 60)], installed=installed)
    balanced(outside, scored.cost)


def test_the_ledger_holds_the_sum_of_the_outputs(engine):
    ledger = Ledger()
    made = outputs(engine, PROMPTS, ledger=ledger, max_new_tokens=12)
    spent = total(output.cost for output in made)
    assert ledger.spent.to_json() == pytest.approx(spent.to_json())
    assert spent.new_tokens == sum(len(output.token_ids) for output in made)
    assert ledger.reserved.tokens == ledger.reserved.calls == 0


@few
@given(
    tokens=st.none() | st.integers(0, 260),
    new_tokens=st.none() | st.integers(0, 50),
    calls=st.none() | st.integers(0, 50),
    price=st.none() | st.floats(0, 8),
    drafts=st.booleans(),
)
def test_no_cap_is_ever_passed(engine, base, tokens, new_tokens, calls, price, drafts):
    caps = Caps(tokens=tokens, new_tokens=new_tokens, calls=calls, price=price)
    ledger = Ledger(caps)
    installed = Installed(draft=REPEATING) if drafts else Installed()
    made = outputs(engine, PROMPTS, installed=installed, ledger=ledger, max_new_tokens=12)
    assert ledger.closed == ""
    for name, cap in caps.to_json().items():
        assert name == "grace" or getattr(ledger.spent, name) <= cap
    assert ledger.reserved.tokens == ledger.reserved.calls == 0
    for output, whole in zip(made, base, strict=True):
        assert output.token_ids == whole.token_ids[: len(output.token_ids)]
        assert output.stop_reason == "budget" or tokens_of([output]) == tokens_of([whole])


def test_a_budget_ends_the_text_where_it_is_spent(engine, base):
    (output,) = outputs(engine, PROMPTS[:1], ledger=Ledger(Caps(new_tokens=5)), max_new_tokens=12)
    assert (output.stop_reason, output.token_ids) == ("budget", base[0].token_ids[:5])
    (output,) = outputs(engine, PROMPTS[:1], ledger=Ledger(Caps(tokens=3)), max_new_tokens=12)
    assert (output.stop_reason, output.token_ids, output.cost.flops) == ("budget", (), 0)


def test_a_deadline_ends_all_rows(engine):
    ledger = Ledger(Caps(seconds=1e-9))
    made = outputs(engine, PROMPTS, ledger=ledger, max_new_tokens=12)
    assert {output.stop_reason for output in made} == {"budget"}
    assert all(len(output.token_ids) < 12 for output in made)
    assert ledger.reserved.tokens == 0
    later = outputs(engine, PROMPTS[:1], ledger=ledger, max_new_tokens=12)
    assert (later[0].stop_reason, later[0].cost.calls) == ("budget", 0)


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_closing_the_iterator_gives_back_what_is_reserved(engine, taken):
    ledger = Ledger(Caps(tokens=250))
    running = engine.generate(
        requests("the cat", LONG[:900], *PROMPTS),
        Sampling(max_new_tokens=8),
        installed=Installed(),
        ledger=ledger,
    )
    made = [next(running) for _ in range(taken)]
    running.close()
    assert ledger.reserved.tokens == ledger.reserved.calls == 0
    assert total(o.cost for o in made).tokens <= ledger.spent.tokens <= 250
    assert ledger.spent.tokens == total(r.cost for r in ledger.records).tokens


def test_prompts_that_were_never_read_cost_nothing(engine):
    ledger = Ledger(Caps(tokens=120))
    running = engine.generate(
        requests(PROMPTS[0], LONG), Sampling(max_new_tokens=8), installed=Installed(), ledger=ledger
    )
    assert next(running).id == "1"  # refused before anything was read
    running.close()
    assert ledger.spent.tokens == 0
    assert ledger.reserved.tokens == 0


@pytest.mark.parametrize("broken", ["start", "propose"])
def test_an_error_on_the_way_leaves_nothing_reserved(engine, broken):
    def fail(*_):
        raise RuntimeError("broken draft source")

    drafter = ToyDrafter(fail)
    if broken == "start":
        object.__setattr__(drafter, "start", fail)
    ledger = Ledger(Caps(tokens=1000))
    with pytest.raises(RuntimeError, match="broken"):
        outputs(engine, PROMPTS, installed=Installed(draft=drafter), ledger=ledger)
    assert ledger.reserved.tokens == 0
    assert (ledger.spent.tokens > 0) == (broken == "propose")


def test_a_refused_request_leaves_nothing_reserved_for_the_others(engine):
    ledger = Ledger(Caps(tokens=1000))
    with pytest.raises(WorkloadError):
        outputs(engine, [PROMPTS[0], ""], ledger=ledger)
    assert ledger.reserved.tokens == ledger.spent.tokens == 0


@few
@given(
    seconds=st.lists(st.floats(0.01, 5), min_size=18, max_size=18),
    own=st.integers(1, 60),
    others=st.integers(0, 200),
    context=st.integers(0, 500),
)
def test_a_rows_share_of_a_pass_is_never_over_its_bound(engine, seconds, own, others, context):
    low, high, mlp, head = (tuple(seconds[i : i + 4]) for i in (0, 4, 8, 12))
    table = PriceTable(
        tokens=(1, 2, 8, 32),
        contexts=(16, 128),
        attention=(low, high),
        mlp=mlp,
        head=head,
        fixed=seconds[16],
    )
    n = own + others
    price = table.seconds(n, context, attention=5, mlp=5, head_rows=n // 2 + 1) * own / n
    assert price <= most_seconds(table, engine.shape, Layout.full(5))(own) * (1 + 1e-9)


def test_the_price_of_a_step_is_that_of_the_table(engine):
    (output,) = outputs(engine, ["zzzz"], max_new_tokens=3)
    passes = [(4, 0, 1), (1, 4, 1), (1, 5, 1)]
    prices = [
        PRICES.seconds(n, held, attention=5, mlp=5, head_rows=rows) for n, held, rows in passes
    ]
    assert output.cost.price == pytest.approx(np.sum(prices))
