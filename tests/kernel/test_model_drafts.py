"""Sources that take forward passes under the controller, in simulation."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.kernel.policies.draft_control import ALLOWANCE, START, Controlled
from rheostat.kernel.policies.draft_stop import Threshold
from rheostat.kernel.policies.model_drafts import ModelSource
from rheostat.kernel.seams import DraftStart, Forward, Guess, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

CAP = 8
EXIT = Forward(layout=Layout.full(4).within(0, 2))
OTHER = Forward(model="other.gguf")
PASSES = [1.0 + 0.05 * n for n in range(2 * CAP)]


@dataclass(frozen=True)
class Copies:
    """A source of copies that hold for so many tokens."""

    held: int
    priors = ((0.5, 0.8),)

    def start(self, start: DraftStart) -> None:
        return None

    def guess(self, state: None, longest: int) -> Guess:
        return Guess([1] * min(self.held, longest) + [0] * max(longest - self.held, 0), 0)

    def commit(self, state: None, tokens: Sequence[int]) -> None:
        return None


@dataclass
class Written:
    """What a simulated row came to."""

    price: float = 0.0
    tokens: int = 0
    asked: int = 0
    drafted: int = 0
    """Tokens drawn by forward passes."""
    last_asked: int = 0
    """Tokens written when a forward was last asked for."""


def step(share: float, unread_price: float = 0.0):
    """A forward that costs a share of an ordinary step a token."""

    def seconds(forward: Forward, k: int, unread: int, context: int) -> float:
        return k * share + (unread - 1) * unread_price + PASSES[k]

    return seconds


def row(control: Controlled, held, *, seconds, tokens: int, prompt: int = 4, score=None) -> Written:
    """Write ones; the n-th draft by forward passes holds for `held(n)` tokens."""
    start = DraftStart(
        prompt=[1] * prompt,
        special=frozenset(),
        step_seconds=lambda n, _: PASSES[n - 1],
        drafting_seconds=seconds,
    )
    state = control.start(start)
    made = Written()
    while made.tokens < tokens:
        copied = control.propose(state, CAP)
        ask = control.ask(state, CAP)
        if ask is None:
            price = PASSES[len(copied)]
            accepted = next((i for i, t in enumerate(copied) if t != 1), len(copied))
        else:
            drafted = 1
            while ask.goes_on(None if drafted == 1 else score) and drafted < CAP:
                drafted += 1
            accepted = min(held(made.asked), drafted)
            unread = 1 if ask.forward.layout else prompt + made.tokens
            price = seconds(ask.forward, drafted, 1 if made.asked else unread, 0)
            made.asked += 1
            made.drafted += drafted
            made.last_asked = made.tokens
        made.price += price
        made.tokens += accepted + 1
        state = control.commit(state, [1] * (accepted + 1))
    return made


def of(*forwards: Forward, prior=(0.5, 0.7), rule=None, copies=()) -> Controlled:
    return Controlled(
        sources=tuple((Copies(held), CAP) for held in copies),
        models=tuple((ModelSource(forward=f, prior=prior, rule=rule), CAP) for f in forwards),
    )


@settings(max_examples=200, deadline=None)
@given(
    held=st.lists(st.integers(0, CAP), min_size=1, max_size=40),
    copies=st.lists(st.integers(0, CAP), max_size=2),
    share=st.floats(0.05, 1.0),
    prior=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    rule=st.sampled_from([None, Threshold(threshold=1.0), Threshold(threshold=0.0)]),
    tokens=st.integers(1, 120),
)
def test_whatever_is_drafted_the_price_keeps_to_the_allowance(
    held, copies, share, prior, rule, tokens
) -> None:
    control = of(EXIT, prior=prior, rule=rule, copies=copies)
    made = row(control, lambda n: held[n % len(held)], seconds=step(share), tokens=tokens)
    assert made.price <= (1 + ALLOWANCE) * made.tokens + START + 1e-9


def test_a_source_that_never_pays_is_hardly_ever_asked() -> None:
    made = row(of(EXIT), lambda n: 0, seconds=step(0.5), tokens=2_000)
    assert made.asked <= 10
    assert made.price <= 1.01 * made.tokens
    first = row(of(EXIT), lambda n: 0, seconds=step(0.5), tokens=200)
    assert made.asked - first.asked <= 4  # the pauses double


def test_a_source_that_pays_is_asked_at_every_step() -> None:
    made = row(of(EXIT), lambda n: CAP, seconds=step(0.2), tokens=500)
    best = (CAP * 0.2 + PASSES[CAP]) / (CAP + 1)
    assert made.price / made.tokens <= 1.05 * best


def test_a_poor_prior_is_overcome_by_exploring() -> None:
    made = row(of(EXIT, prior=(0.01, 0.1)), lambda n: CAP, seconds=step(0.2), tokens=800)
    assert made.price / made.tokens <= 0.6


def test_a_source_that_could_not_pay_when_all_is_accepted_is_never_asked() -> None:
    made = row(of(EXIT), lambda n: CAP, seconds=step(1.0), tokens=500)
    assert made.asked == 0


def test_where_nobody_runs_forwards_the_sources_abstain() -> None:
    start = DraftStart(prompt=[1], special=frozenset(), step_seconds=lambda n, _: PASSES[n - 1])
    control = of(EXIT)
    state = control.start(start)
    assert control.propose(state, 5) == ()
    assert control.ask(state, 5) is None
    assert control.commit(state, [1]).credit == 0.0


@pytest.mark.parametrize("copies", [0, CAP])
def test_copies_and_forwards_compete_at_what_the_whole_step_costs(copies: int) -> None:
    made = row(of(EXIT, copies=[copies]), lambda n: CAP, seconds=step(0.2), tokens=600)
    if copies:  # free drafts that hold as long are taken
        assert made.drafted < 0.1 * made.tokens
    else:
        assert made.drafted > 0.7 * made.tokens


def test_another_model_reads_the_text_only_if_the_credit_covers_it() -> None:
    cheap = row(of(OTHER), lambda n: CAP, seconds=step(0.2, 0.01), tokens=300, prompt=100)
    dear = row(of(OTHER), lambda n: CAP, seconds=step(0.2, 0.05), tokens=300, prompt=100)
    assert cheap.price / cheap.tokens < 0.6
    assert dear.asked == 0


@given(limit=st.integers(0, CAP))
def test_a_draft_keeps_to_the_limit(limit: int) -> None:
    control = of(EXIT, prior=(1.0, 1.0))
    state = control.start(
        DraftStart(
            prompt=[1],
            special=frozenset(),
            step_seconds=lambda n, _: PASSES[n - 1],
            drafting_seconds=step(0.1),
        )
    )
    ask = control.ask(state, limit)
    if limit == 0:
        assert ask is None
        return
    drafted = 1
    while ask.goes_on(None):
        drafted += 1
    assert drafted == limit


def test_the_rule_sees_the_scores_of_the_tokens_that_were_read() -> None:
    cautious = row(
        of(EXIT, prior=(0.95, 0.95), rule=Threshold(threshold=0.5)),
        lambda n: CAP,
        seconds=step(0.1),
        tokens=200,
        score=0.6,
    )
    # least 2, and behind a second score of 0.6 the chance of a refusal is 0.64
    assert cautious.drafted / cautious.asked == pytest.approx(3, abs=0.5)


def test_learnt_acceptance_sets_the_length() -> None:
    draw = random.Random(0)
    held = [next((i for i in range(CAP) if draw.random() > 0.6), CAP) for _ in range(2_000)]
    made = row(of(EXIT), lambda n: held[n], seconds=step(0.15), tokens=1_500)
    fixed = [
        sum(k * 0.15 + PASSES[k] for _ in held) / sum(min(h, k) + 1 for h in held)
        for k in range(1, CAP + 1)
    ]
    assert made.price / made.tokens <= 1.05 * min(fixed)
