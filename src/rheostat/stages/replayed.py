"""What a rule of stopping makes of recorded samples, in several orders.

A rule sees a question's samples in an order; orders are the cyclic shifts of the recorded one, and
a question's figures are means over them, so that questions stay the units of every interval. What
a rule launches counts whole, whether it looked at it or not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rheostat.kernel.samples import Finish, Launch, Opened, SampleStart
from rheostat.workloads.parts import text_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.samples import Ended, SamplePolicy
    from rheostat.stages.recorded import Recorded

T = TypeVar("T")

SHIFTS = 8
"""Orders of each question's samples."""


class Drawn(NamedTuple):
    """What a rule made of one question in one order."""

    answer: str | None
    samples: int
    tokens: int


def drawn_by(policy: SamplePolicy, ended: Sequence[Ended], *, name: str = "") -> Drawn:
    """Let a policy draw from samples in the order given; lots depend on the name."""
    state = policy.start(SampleStart(question=name, samples=len(ended), seed=seed_of(name)))
    events: deque[Any] = deque([Opened()])
    launched = 0
    while events:
        state, actions = policy.step(state, events.popleft())
        for action in actions:
            if isinstance(action, Finish):
                return Drawn(action.answer, launched, sum(e.tokens for e in ended[:launched]))
            assert isinstance(action, Launch), f"{action} cannot be done on recorded answers"
            events += ended[launched : launched + action.count]
            launched += action.count
    raise AssertionError("the policy neither draws nor answers")


def replayed(
    policy: SamplePolicy,
    samples: int,
    question: Recorded,
    orders: Sequence[Sequence[Ended]] | None = None,
) -> list[Drawn]:
    """Let a policy answer a question in every order, with so many samples at most.

    Args:
        orders: those of the question, where they are known already.
    """
    return [
        drawn_by(policy, ended[:samples], name=order_name(question, at))
        for at, ended in enumerate(orders or orders_of(question))
    ]


def seed_of(name: str) -> int:
    """Return the seed of a question's lots."""
    return int.from_bytes(text_hash(name)[:4], "big")


def in_orders(values: Sequence[T]) -> list[list[T]]:
    """Return values by sample in every order."""
    n = len(values)
    return [[*values[shift:], *values[:shift]] for shift in range(0, n, _step(n))]


def orders_of(question: Recorded) -> list[list[Ended]]:
    """Return a question's samples in every order, as a policy is told of them."""
    return [
        [replace(sample, index=i) for i, sample in enumerate(order)]
        for order in in_orders(question.ended)
    ]


def order_name(question: Recorded, at: int) -> str:
    """Return the name of a question's order with an index, on which lots depend."""
    return f"{question.id}, from {at * _step(len(question.ended))}"


def _step(samples: int) -> int:
    return max(1, samples // SHIFTS)
