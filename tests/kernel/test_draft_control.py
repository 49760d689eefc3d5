"""The controller in simulation: against the best length, changes of text, and text that lies."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.kernel.policies.draft_control import ALLOWANCE, START, Controlled
from rheostat.kernel.seams import DraftStart, Guess

LONGEST = 16
FLAT = [1.0 + 0.02 * n for n in range(LONGEST + 1)]
STEEP = [1.0 + 0.25 * n for n in range(LONGEST + 1)]
JUMPY = [1.0, 1.3, 1.3, 1.8, 1.9, 1.9, 2.3, 2.3, 2.3, 2.8, 2.8, 2.8, 2.2, 2.2, 2.2, 2.2, 2.2]
TABLES = [FLAT, STEEP, JUMPY]

Held = Callable[[int], int]
"""How far a guess made at a place of the text holds."""


@dataclass(frozen=True)
class Known:
    """A source whose guess at place i holds for so many tokens; its state is the place."""

    held: Held
    priors = ((0.5, 0.8),)
    kind: int = 0

    def start(self, start: DraftStart) -> int:
        return 0

    def guess(self, state: int, longest: int) -> Guess:
        held = min(self.held(state), longest)
        return Guess([1] * held + [0] * (longest - held), self.kind)

    def commit(self, state: int, tokens: Sequence[int]) -> int:
        return state + len(tokens)


def written(control: Controlled, holds: Held, table: Sequence[float], tokens: int) -> list[float]:
    """Write ones; a draft is kept as far as it holds. Return the price of every token."""
    start = DraftStart(prompt=(), special=frozenset(), step_seconds=lambda n, _: table[n - 1])
    state = control.start(start)
    prices: list[float] = []
    while len(prices) < tokens:
        draft = control.propose(state, LONGEST)
        accepted = next((i for i, token in enumerate(draft) if token != 1), len(draft))
        prices += [table[len(draft)] / (accepted + 1)] * (accepted + 1)
        state = control.commit(state, [1] * (accepted + 1))
    return prices[:tokens]


def of(*holds: Held, cap: int = LONGEST) -> Controlled:
    return Controlled(sources=tuple((Known(held), cap) for held in holds))


def geometric(p: float, seed: int) -> Held:
    """A guess at a place holds on with a probability a token, the same one whenever it is made."""
    draw = random.Random(seed)
    right = [draw.random() < p for _ in range(6_000)]

    def holds(place: int) -> int:
        return next((i for i in range(LONGEST) if not right[place + i]), LONGEST)

    return holds


def mean(prices: Sequence[float]) -> float:
    return sum(prices) / len(prices)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("table", TABLES)
def test_the_price_comes_near_that_of_the_best_length_in_hindsight(
    p: float, table: list[float]
) -> None:
    holds = geometric(p, 1)
    best = min(length_price(holds, length, table) for length in range(LONGEST + 1))
    prices = written(of(holds), holds, table, 4_000)
    assert mean(prices) <= 1.03 * best
    assert mean(prices[2_000:]) - best <= max(mean(prices[:200]) - best, 0.03 * best)


def length_price(holds: Held, length: int, table: Sequence[float], tokens: int = 4_000) -> float:
    place, price = 0, 0.0
    while place < tokens:
        place += min(holds(place), length) + 1
        price += table[length]
    return price / place


@pytest.mark.parametrize("table", TABLES)
def test_a_text_that_lies_costs_at_most_the_allowance(table: list[float]) -> None:
    control = of(lambda place: 0)
    prices = written(control, lambda place: 0, table, 300)
    assert sum(prices) <= (1 + ALLOWANCE) * 300 * table[0] + START * table[0]


@settings(max_examples=200, deadline=None)
@given(
    held=st.lists(st.integers(0, LONGEST), min_size=1, max_size=60),
    other=st.lists(st.integers(0, LONGEST), min_size=1, max_size=60),
    table=st.sampled_from(TABLES),
    tokens=st.integers(1, 150),
)
def test_no_text_costs_more_than_the_allowance(
    held: list[int], other: list[int], table: list[float], tokens: int
) -> None:
    def holds(place: int) -> int:
        return held[place % len(held)]

    def others(place: int) -> int:
        return other[place % len(other)]

    prices = written(of(holds, others), holds, table, tokens)
    assert sum(prices) <= ((1 + ALLOWANCE) * tokens + START) * table[0] + 1e-9


@pytest.mark.parametrize(("before", "after"), [(0, LONGEST), (LONGEST, 0)])
def test_a_change_of_text_is_noticed_within_fifty_steps(before: int, after: int) -> None:
    change = 3000

    def holds(place: int) -> int:
        return before if place < change else after

    prices = written(of(holds), holds, FLAT, change + 400)
    settled = FLAT[LONGEST] / (LONGEST + 1) if after else FLAT[0]
    late = prices[change + 50 :]
    assert mean(late) <= 1.05 * settled


def test_the_better_source_is_asked_and_its_draft_taken() -> None:
    good, bad = geometric(0.9, 2), geometric(0.2, 3)
    alone = mean(written(of(good), good, JUMPY, 5000))

    def holds(place: int) -> int:
        return good(place)

    both = Controlled(sources=((Known(lambda place: 0), LONGEST), (Known(good), LONGEST)))
    assert mean(written(both, holds, JUMPY, 5000)) <= 1.02 * alone
    assert mean(written(of(bad), bad, JUMPY, 5000)) > alone


def test_a_source_that_may_draft_nothing_is_not_asked() -> None:
    asked: list[int] = []
    control = of(lambda place: asked.append(place) or 0, cap=0)
    prices = written(control, lambda place: 0, STEEP, 20)
    assert (asked, mean(prices)) == ([], 1.0)


@given(limit=st.integers(0, LONGEST))
def test_a_draft_keeps_to_the_limit(limit: int) -> None:
    control = of(lambda place: LONGEST)
    start = DraftStart(prompt=(), special=frozenset(), step_seconds=lambda n, _: FLAT[n - 1])
    assert len(control.propose(control.start(start), limit)) <= limit
