"""What a draft source would have cost on an answer that is known: no model is run.

A lossless draft never changes the answer, so its steps follow from the answer alone: propose,
accept the agreeing prefix, write one token more. The price of each step comes from the measured
table, so every dial of every source can be compared in milliseconds (ours).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.policies.token_tree import clipped, depths, parents_of
from rheostat.kernel.policies.verify import verify_greedy

if TYPE_CHECKING:
    from rheostat.kernel.seams import Drafter, DraftStart

StepPrice = Callable[[int, int], float]
"""Price of a forward pass over n new tokens after a context: (n, context) -> seconds."""
_NO_TOKEN = -1
"""Stands for what the model would have written after its answer: no draft agrees with it."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The steps that an answer would have taken."""

    price: float
    """Predicted seconds of all decoding steps; reading the prompt is not included."""
    steps: int
    proposed: int
    accepted: int


def replayed(
    drafter: Drafter | None,
    start: DraftStart,
    answer: Sequence[int],
    step_price: StepPrice,
    limit: int | None = None,
) -> Replay:
    """Walk a source along an answer.

    Args:
        drafter: the source at its dial; None = no drafts.
        start: what it sees when the row starts, with the prompt.
        answer: every token written, the end token included if the model wrote it.
        step_price: price of one step.
        limit: how many new tokens were allowed, which bounds the drafts; None = those written.
    """
    read = len(start.prompt)
    if drafter is None:
        prices = [step_price(1, read + i) for i in range(len(answer) - 1)]
        return Replay(price=sum(prices), steps=len(prices), proposed=0, accepted=0)
    most = len(answer) if limit is None else limit
    state = drafter.commit(drafter.start(start), answer[:1])
    price, steps, proposed, accepted, written = 0.0, 0, 0, 0, 1
    while written < len(answer):
        room = most - written - 1
        draft = clipped(drafter.propose(state, room), room) if room > 0 else ()
        step = verify_greedy(_choices(answer[written:], draft), draft)
        price += step_price(1 + len(draft), read + written - 1)
        tokens = step.tokens[: len(answer) - written]
        state = drafter.commit(state, tokens)
        written += len(tokens)
        steps += 1
        proposed += len(draft)
        accepted += step.accepted
    return Replay(price=price, steps=steps, proposed=proposed, accepted=accepted)


def _choices(left: Sequence[int], draft: Sequence[int]) -> list[int]:
    """Return what the model chooses after the text and after each draft token that is right."""
    places = (0, *(depth + 1 for depth in depths(parents_of(draft))))
    return [left[place] if place < len(left) else _NO_TOKEN for place in places]
