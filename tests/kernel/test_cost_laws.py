"""Cost laws against sums over tokens, and against a price table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.cost_laws import (
    Generation,
    PrefillEquivalents,
    Round,
    attended_tokens,
    effective_flops,
    fitted,
    large_batch,
    reading_flops,
)
from rheostat.kernel.model_cost import ModelShape, PriceTable

SHAPE = ModelShape(
    layers=30, width=576, heads=9, kv_heads=3, head_size=64, inner=1536, vocabulary=49152,
    context=2048,
)  # fmt: skip
WEIGHTS = 30 * (SHAPE.attention_weights + SHAPE.mlp_weights) + SHAPE.head_weights
TOKENS = st.integers(0, 600)


@given(TOKENS, TOKENS, st.none() | st.integers(1, 900))
def test_attended_tokens_are_the_sum_over_new_ones(prompt, new, kept):
    def seen(i):
        return prompt + i + 0.5 if kept is None else min(prompt + i + 0.5, kept)

    found = attended_tokens(Generation(prompt=prompt, new=new, kept=kept))
    assert found == pytest.approx(sum(seen(i) for i in range(new)))


@given(TOKENS, TOKENS)
def test_reading_is_the_sum_over_its_tokens(tokens, context):
    layer_weights = 30 * (SHAPE.attention_weights + SHAPE.mlp_weights)
    pairs = sum(context + i + 0.5 for i in range(tokens))
    own = 2 * layer_weights * tokens + 4 * pairs * 9 * 64 * 30 + 2 * SHAPE.head_weights
    assert reading_flops(SHAPE, tokens, context) == pytest.approx(own)


@given(TOKENS, TOKENS)
def test_a_budget_that_is_never_reached_is_none(prompt, new):
    whole = Generation(prompt=prompt, new=new)
    kept = replace(whole, kept=prompt + new)
    assert effective_flops(SHAPE, kept) == pytest.approx(effective_flops(SHAPE, whole))


def test_one_answer_to_nothing_is_the_papers_closed_form():
    made = Generation(prompt=0, new=100)
    assert effective_flops(SHAPE, made, intensity=0) == 2 * WEIGHTS * 100 + 2 * 100**2 * 9 * 64 * 30


@given(TOKENS, st.integers(1, 600), st.integers(1, 16))
def test_answers_share_the_reading_of_their_prompt(prompt, new, answers):
    made = Generation(prompt=prompt, new=new, answers=answers)
    memory = effective_flops(SHAPE, made, intensity=1) - effective_flops(SHAPE, made, intensity=0)
    # the paper's 2 (2 c + n L) L K D bytes, of two-byte numbers
    assert memory == pytest.approx(2 * (2 * prompt + answers * new) * new * 3 * 64 * 30)


def test_weights_that_are_read_for_every_token_are_counted():
    made, bytes_ = Generation(prompt=10, new=20, answers=3), 1e6
    plain, own = (effective_flops(SHAPE, made, weight_bytes=b) for b in (0, bytes_))
    assert own - plain == pytest.approx(562.5 * 60 * bytes_)


LAW = PrefillEquivalents(step=40.0, context=0.01)
ROUNDS = st.builds(Round, read=TOKENS, written=TOKENS, context=TOKENS)


@given(st.lists(ROUNDS, max_size=5), st.lists(ROUNDS, max_size=5))
def test_prefill_equivalents_add_up_and_grow_with_every_count(first, second):
    both = LAW.tokens([*first, *second])
    assert both == pytest.approx(LAW.tokens(first) + LAW.tokens(second))
    for name in ("read", "written", "context"):
        more = [replace(r, **{name: getattr(r, name) + 1}) for r in first]
        assert LAW.tokens(more) >= LAW.tokens(first)


@given(TOKENS, TOKENS, TOKENS)
def test_a_cache_that_is_kept_is_never_dearer_than_one_that_is_lost(context, new, written):
    kept, lost = (Round(read=n, written=written, context=context + new)
                  for n in (new, context + new))  # fmt: skip
    assert LAW.tokens([kept]) <= LAW.tokens([lost])


def test_reading_alone_costs_its_tokens():
    assert LAW.tokens([Round(read=123, written=0, context=123)]) == 123


def test_token_counts_can_rank_the_wrong_way():
    reads = [Round(read=900, written=10, context=900)]
    writes = [Round(read=100, written=100, context=100)]
    assert reads[0].read + reads[0].written > writes[0].read + writes[0].written
    assert LAW.tokens(reads) < LAW.tokens(writes)


def test_the_papers_form_is_two_numbers_a_layer_and_cached_head():
    law = large_batch(SHAPE, intensity=153.0)
    assert law.step == 0
    assert law.context == pytest.approx(2 * 30 * 3 * 64 * 153.0 / WEIGHTS)


def test_a_table_that_follows_the_law_gives_it_back():
    table = PriceTable(
        tokens=(1, 128), contexts=(0, 1000), attention=((1.0, 2.0), (2.0, 3.0)), mlp=(3.0, 5.0),
        head=(4.0, 4.0), fixed=2.0,
    )  # fmt: skip
    law, error = fitted(SHAPE, table, contexts=(0, 250, 500, 1000))
    unit = (2.0 + 30 * 2.0 + 30 * 5.0 + 4.0) / 128
    assert error == pytest.approx(0, abs=1e-9)
    assert law.step == pytest.approx((2.0 + 30 * 1.0 + 30 * 3.0 + 4.0) / unit)
    assert law.context == pytest.approx(30 * 0.001 / unit)
