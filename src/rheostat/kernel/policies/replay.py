"""What a draft source would have cost on an answer that is known: no model is run.

A lossless draft never changes the answer, so its steps follow from the answer alone: propose,
accept the agreeing prefix, write one token more. The price of each step comes from the measured
table, so every dial of every source can be compared in milliseconds (ours).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.policies.verify import verify_greedy

if TYPE_CHECKING:
    from rheostat.kernel.seams import Drafter, DraftStart

StepPrice = Callable[[int, int], float]
"""Price of a forward pass over n new tokens after a context: (n, context) -> seconds."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The steps that an answer would have taken."""

    price: float
    """Predicted seconds of all decoding steps; reading the prompt is not included."""
    steps: int
    proposed: int
    accepted: int


def replayed(
    drafter: Drafter | None, start: DraftStart, answer: Sequence[int], step_price: StepPrice
) -> Replay:
    """Walk a source along an answer.

    Args:
        drafter: the source at its dial; None = no drafts.
        start: what it sees when the row starts, with the prompt.
        answer: every token written, the end token included if the model wrote it.
        step_price: price of one step.
    """
    if drafter is None:
        prices = [step_price(1, len(start.prompt) + i) for i in range(len(answer) - 1)]
        return Replay(price=sum(prices), steps=len(prices), proposed=0, accepted=0)
    state = drafter.commit(drafter.start(start), answer[:1])
    price, steps, proposed, accepted, written = 0.0, 0, 0, 0, 1
    while written < len(answer):
        room = len(answer) - written - 1
        draft = tuple(drafter.propose(state, room))[:room] if room else ()
        step = verify_greedy(answer[written : written + len(draft) + 1], draft)
        price += step_price(1 + len(draft), len(start.prompt) + written - 1)
        state = drafter.commit(state, step.tokens)
        written += len(step.tokens)
        steps += 1
        proposed += len(draft)
        accepted += step.accepted
    return Replay(price=price, steps=steps, proposed=proposed, accepted=accepted)
