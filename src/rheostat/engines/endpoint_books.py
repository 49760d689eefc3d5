"""What a call of an endpoint costs at most, and what it is charged when it has ended.

Usage is what the server says, and never fewer tokens than were seen. Where it says nothing, a call
that ended counts as its whole reservation, and a cancelled one as its prompt's bound and what had
been written, in bytes where tokens cannot be told apart: never too little, marked estimated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from rheostat.engines.endpoint_reply import Usage
from rheostat.kernel.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Request
    from rheostat.engines.endpoint_calls import Call
    from rheostat.kernel.ledger import Reservation

_TEMPLATE = 256
"""Tokens that a server's chat template may add before any answer has shown how many it does."""
_RAW = 4
"""Tokens that may come before a raw text, such as one that marks its beginning."""


@final
@dataclass(frozen=True, kw_only=True)
class UsdPrices:
    """What a provider asks for, in dollars a million tokens."""

    prompt: float = 0.0
    new: float = 0.0

    def usd(self, usage: Usage) -> float:
        """Return the money for so many tokens."""
        return (self.prompt * usage.prompt + self.new * usage.new) / 1e6


@final
class PromptSizes:
    """Bounds on the tokens of prompts.

    A token covers at least one byte, so a text has no more tokens than bytes; what a template adds
    is no more than the shortest prompt of the same roles had. A prompt that was answered is known.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[tuple[str, ...], int] = {}
        self._template: dict[tuple[str, ...], int] = {}

    def bound(self, request: Request) -> int:
        """Return the most tokens that a prompt can have."""
        known = self._known.get(_text(request))
        if known is not None:
            return known
        added = self._template.get(_roles(request), _TEMPLATE)
        return _bytes(request) + (_RAW if request.prompt is not None else added)

    def learn(self, request: Request, tokens: int) -> None:
        """Remember what a server counted."""
        self._known[_text(request)] = max(tokens, self._known.get(_text(request), 0))
        roles = _roles(request)
        self._template[roles] = min(tokens, self._template.get(roles, _TEMPLATE))


def observed(call: Call, bound: Cost) -> Cost | None:
    """Return what a call took; None when that cannot be known.

    Args:
        bound: what was reserved for it.
    """
    reply, seconds = call.reply, call.seconds
    if not reply.accepted and not call.lost and call.crash is None:
        # turned away, or cancelled on its way: the second may have been read
        sent = call.cancelled and call.started is not None
        return Cost(seconds=seconds) if not sent else _estimate(bound, 0, seconds)
    usage = reply.usage or reply.running
    if usage is not None:
        seen = sum(len(written.logprobs) for written in reply.answers)
        return _cost(Usage(usage.prompt, max(usage.new, seen)), seconds)
    if call.cancelled:
        written = sum(answer.most_tokens for answer in reply.answers)
        return _estimate(bound, min(written, bound.new_tokens), seconds)
    return None


def settled(
    call: Call,
    reservations: Sequence[Reservation],
    prices: UsdPrices,
    *,
    notes: Sequence[str] = (),
) -> list[Cost]:
    """Charge a call that has ended and end the reservations of its samples, one an answer.

    The first sample bears the prompt and the call; new tokens go where they were seen.

    Returns:
        What each sample cost.
    """
    first = reservations[0].rest
    bound = replace(first, new_tokens=sum(r.rest.new_tokens for r in reservations))
    cost, seconds = observed(call, bound), call.seconds / len(reservations)
    new: list[int] = []
    if cost is not None:
        seen = [answer.most_tokens for answer in call.reply.answers[: len(reservations)]]
        new = shares(cost.new_tokens, seen, [r.rest.new_tokens for r in reservations])
    for at, reservation in enumerate(reservations):
        note = notes[at] if notes else reservation.note
        if cost is None:
            reservation.charge(Cost(seconds=seconds))
            reservation.fail(note)
            continue
        usage = Usage(0 if at else cost.prompt_tokens, new[at])
        part = replace(_cost(usage, seconds), calls=0 if at else cost.calls)
        reservation.charge(replace(part, usd=prices.usd(usage), estimated=cost.estimated))
        if call.cancelled or call.turned_away is not None:
            reservation.cancel(note)
        else:
            reservation.close()
    return [reservation.charged for reservation in reservations]


def shares(total: int, seen: Sequence[int], rooms: Sequence[int]) -> list[int]:
    """Split a count among answers as they were seen, each within its room while there is room."""
    weight = max(sum(seen), 1)
    parts = [min(total * one // weight, room) for one, room in zip(seen, rooms, strict=True)]
    left = total - sum(parts)
    for at, room in enumerate(rooms):
        more = min(left, room - parts[at])
        parts[at] += more
        left -= more
    parts[0] += left
    return parts


def _cost(usage: Usage, seconds: float) -> Cost:
    return Cost(prompt_tokens=usage.prompt, new_tokens=usage.new, calls=1, seconds=seconds)


def _estimate(bound: Cost, written: int, seconds: float) -> Cost:
    cost = _cost(Usage(bound.prompt_tokens, written), seconds)
    return replace(cost, estimated=True)


def _text(request: Request) -> tuple[str, ...]:
    if request.prompt is not None:
        return (request.prompt,)
    return tuple(part for m in request.messages for part in (m["role"], m["content"]))


def _roles(request: Request) -> tuple[str, ...]:
    return tuple(message["role"] for message in request.messages)


def _bytes(request: Request) -> int:
    texts = (
        [request.prompt] if request.prompt is not None else [m["content"] for m in request.messages]
    )
    return sum(len(text.encode()) for text in texts)
