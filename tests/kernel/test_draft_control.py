"""The controller in simulation: against the best length, changes of text, and text that lies."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.kernel.policies.draft_control import ALLOWANCE, START, Controlled
from rheostat.kernel.policies.token_tree import TokenTree
from rheostat.kernel.policies.verify import verify_greedy
from rheostat.kernel.seams import Branch, DraftStart, Guess

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
        accepted = verify_greedy([1] * (len(draft) + 1), draft).accepted
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


# trees


@dataclass(frozen=True)
class Forked:
    """A source with a way that leaves its guess: at a place of the guess, right for so long."""

    held: Held
    at: Held
    right: Held
    priors = ((0.5, 0.8), (0.3, 0.8))

    def start(self, start: DraftStart) -> int:
        return 0

    def guess(self, state: int, longest: int) -> Guess:
        held, at = min(self.held(state), longest), self.at(state)
        right = min(self.right(state), longest - at)
        way = Branch(at, [1] * right + [2] * (longest - at - right), 1)
        ways = [way] if at < longest and (right > 0) != (held > at) else []
        return Guess([1] * held + [0] * (longest - held), 0, ways)

    def commit(self, state: int, tokens: Sequence[int]) -> int:
        return state + len(tokens)


def around(values: list[int]) -> Held:
    return lambda place: values[place % len(values)]


HELD = st.lists(st.integers(0, LONGEST), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(held=HELD, at=HELD, right=HELD, other=HELD, table=st.sampled_from(TABLES))
def test_no_text_costs_more_than_the_allowance_with_trees(
    held: list[int], at: list[int], right: list[int], other: list[int], table: list[float]
) -> None:
    forked = Forked(around(held), around(at), around(right))
    control = Controlled(
        sources=((forked, LONGEST), (Known(around(other)), LONGEST // 2)), trees=True
    )
    prices = written(control, around(held), table, 100)
    assert sum(prices) <= ((1 + ALLOWANCE) * 100 + START) * table[0] + 1e-9


def fork_at_once(p: float) -> Forked:
    """A guess that holds with a probability; else the way does."""
    draw = random.Random(5)
    right = [draw.random() < p for _ in range(8_000)]
    return Forked(
        held=lambda place: 4 if right[place] else 0,
        at=lambda place: 0,
        right=lambda place: 0 if right[place] else 4,
    )


def test_a_tree_pays_where_the_text_forks_evenly_and_is_not_made_where_it_does_not() -> None:
    for p, gain in ((0.5, 0.8), (1.0, 1.01)):
        source = fork_at_once(p)
        chain, tree = (
            mean(
                written(
                    Controlled(sources=((source, LONGEST),), trees=trees), source.held, JUMPY, 4_000
                )
            )
            for trees in (False, True)
        )
        assert tree <= gain * chain + 1e-9


def test_the_guesses_of_two_sources_become_one_tree_where_each_is_right_by_turns() -> None:
    draw = random.Random(6)
    turn = [draw.random() < 0.5 for _ in range(8_000)]
    one = Known(lambda place: 5 if turn[place] else 0)
    # where the first one's guess is 0 0 0, the second one's is 1 1 1
    other = Known(lambda place: 0 if turn[place] else 5)
    chain, tree = (
        mean(
            written(
                Controlled(sources=((one, LONGEST), (other, LONGEST)), trees=trees),
                lambda place: 5,
                JUMPY,
                4_000,
            )
        )
        for trees in (False, True)
    )
    assert tree <= 0.8 * chain


@pytest.mark.parametrize("trees", [False, True])
def test_drafts_branch_only_where_trees_are_on(trees: bool) -> None:
    source = fork_at_once(0.5)
    control = Controlled(sources=((source, LONGEST),), trees=trees)
    start = DraftStart(prompt=(), special=frozenset(), step_seconds=lambda n, _: FLAT[n - 1])
    state, made = control.start(start), []
    for _ in range(300):
        made.append(control.propose(state, LONGEST))
        state = control.commit(state, [1])
    assert any(isinstance(draft, TokenTree) for draft in made) == trees
    assert all(len(draft) <= LONGEST for draft in made)


def test_one_of_several_controllers_that_makes_trees_makes_them_for_all() -> None:
    plain, branching = of(lambda place: 1), Controlled(sources=(), trees=True)
    assert Controlled.joined((plain, branching)).trees
    assert not Controlled.joined((plain, plain)).trees
