"""The oracle of draft control: never dearer than any way to draft, and reached by hand."""

from __future__ import annotations

import random

import pytest

from methods.draft.simulated_rows import (
    SHAPE,
    bfloat16_seconds,
    changed_copy,
    float32_seconds,
    random_text,
    start_of,
)
from rheostat.catalog import method
from rheostat.kernel.oracle.draft_ways import LENGTHS, FixedLength
from rheostat.kernel.oracle.drafts import held_lengths, oracle_price
from rheostat.kernel.policies.replay import replayed


def source_of(name: str, longest: int = 24):
    return method(name)(max_draft=longest).at(1.0, {}, SHAPE).sources


def test_a_hand_computed_answer():
    """Prompt 1 2 3 4 9 1; the answer 2 3 4 7: behind `1 2` the copy `3 4` holds, then breaks."""
    start = start_of([1, 2, 3, 4, 9, 1], step_seconds=lambda n: 1 + 0.1 * (n - 1))
    sources = source_of("copyspec", 4)
    answer = [2, 3, 4, 7]
    assert held_lengths(sources, start, answer) == [0, 2, 1, 0]
    price = oracle_price(sources, start, answer, lambda n, context: 1 + 0.1 * (n - 1))
    assert price == pytest.approx(1.2)


@pytest.mark.parametrize("seconds", [float32_seconds, bfloat16_seconds])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_no_way_to_draft_is_cheaper(seconds, kept):
    prompt = random_text(3, 150, vocabulary=60)
    answer = changed_copy(4, prompt, kept)[:120]
    start = start_of(prompt, step_seconds=seconds)

    def step(n, context):
        return seconds(n)

    for name in ("copyspec", "suffix"):
        sources = source_of(name)
        least = oracle_price(sources, start, answer, step)
        controlled = method(name)().at(1.0, {}, SHAPE)
        ways = [None, controlled, *(FixedLength(source=sources[0][0], length=n) for n in LENGTHS)]
        assert all(least <= replayed(way, start, answer, step).price + 1e-9 for way in ways)


def test_a_second_source_never_hurts():
    draw = random.Random(5)
    prompt = [draw.randrange(9) for _ in range(80)]
    start, answer = start_of(prompt), prompt[20:60]

    def step(n, context):
        return float32_seconds(n)

    one, other = source_of("copyspec"), source_of("suffix")
    both = oracle_price((*one, *other), start, answer, step)
    assert both <= min(oracle_price(s, start, answer, step) for s in (one, other))


@pytest.mark.parametrize("answer", [[], [7]])
def test_an_answer_without_a_second_token_costs_nothing(answer):
    assert oracle_price(source_of("suffix"), start_of([7, 8]), answer, lambda n, c: 1.0) == 0.0
