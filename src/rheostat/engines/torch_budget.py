"""What a request of the `torch` engine may take: reserved on the ledger before work starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, final

from rheostat.kernel.cost import Cost
from rheostat.kernel.records import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.kernel.ledger import Ledger, Reservation


class Grant(NamedTuple):
    """What the budget allows a request."""

    new_tokens: int
    """0 = the request cannot start."""
    reservation: Reservation | None = None


@final
@dataclass(frozen=True, kw_only=True)
class MostDrafting:
    """Bounds on the drafts of a row that take forward passes, each of them in vain."""

    cap: int
    """Most tokens of a draft."""
    chunk: int
    """Tokens that another model reads in one pass."""
    verifying: Callable[[int], float]
    """Bound on the price of a verifying pass over so many of a row's tokens."""
    one: float
    """Bound on the price of a pass that drafts a token."""
    reading: Sequence[Callable[[int], float]] = ()
    """For each other model, a bound on the price of a pass that reads so many tokens."""

    def calls(self, prompt: int, new: int) -> int:
        """Bound the passes beside those that verify."""
        reading = len(self.reading) * -(-(prompt + new) // self.chunk)
        return self._passes(new) + reading

    def price(self, prompt: int, new: int) -> float:
        """Bound the price of all passes after the prompt's, those that verify included."""
        verifying = sum(self.verifying(n) for n in range(1, new))
        parts = [min(self.chunk, prompt - at) for at in range(0, prompt, self.chunk)]
        reading = sum(sum(most(n) for n in parts) + new * most(1) for most in self.reading)
        return verifying + self._passes(new) * self.one + reading

    def _passes(self, new: int) -> int:
        # of the new - 1 steps the last has room for no draft, the one before for one token, ...
        short = min(max(new - 1, 0), self.cap + 1)
        return short * (short - 1) // 2 + max(new - 1 - short, 0) * self.cap


@final
@dataclass(frozen=True, kw_only=True)
class Budget:
    """The ledger of one call of `generate`, if it has one."""

    ledger: Ledger | None
    chunk: int
    """Prompt tokens of one forward pass."""
    drafts: bool
    """Whether steps may carry drafts."""
    most_seconds: Callable[[int], float]
    """Bound on the price of a pass that reads so many of a row's tokens."""
    drafting: MostDrafting | None = None
    """Bounds on drafts that take forward passes, if there are any."""
    compacting: Callable[[int, int, int], float] = lambda prompt, new, passes: 0.0
    """Bound on the price of what is done to a row's cache: (prompt, new tokens, passes)."""

    def grant(self, name: str, *, prompt: int, wanted: int, first: int = 0, kept: int = 0) -> Grant:
        """Reserve what the budget still holds of the wanted new tokens.

        Args:
            name: the request's.
            prompt: tokens to read.
            kept: tokens before them that are held.
            wanted: new tokens.
            first: of the prompt, tokens that passes of their own may read.
        """
        ledger = self.ledger
        if ledger is None:
            return Grant(wanted)
        parts = [*self._parts(first), *self._parts(prompt - first)]
        reading = len(parts)  # the last of these passes writes the first token
        left = min(
            wanted,
            ledger.remaining("tokens") - prompt,
            ledger.remaining("new_tokens"),
            ledger.remaining("calls") - reading + 1,
        )
        new = int(max(left, 0))
        while new and reading + new - 1 + self._draft_calls(prompt, new) > ledger.remaining(
            "calls"
        ):
            new -= 1
        if new < 1:
            return Grant(0)
        bound = Cost(
            prompt_tokens=prompt,
            new_tokens=new,
            calls=reading + new - 1 + self._draft_calls(prompt, new),
            price=self._most_price(ledger, parts, new, kept),
        )
        elapsed = ledger.root.spent.seconds
        answer = ledger.try_reserve(bound, elapsed=elapsed, note=f"request {name}")
        return Grant(0) if isinstance(answer, Refusal) else Grant(new, answer)

    def overdue(self, unsettled: float) -> bool:
        """Return whether running rows must stop, `unsettled` seconds after the last settlement."""
        if self.ledger is None:
            return False
        return self.ledger.overdue(self.ledger.root.spent.seconds + unsettled)

    def _parts(self, tokens: int) -> list[int]:
        """Return the tokens of the passes that read so many."""
        return [min(self.chunk, tokens - at) for at in range(0, tokens, self.chunk)]

    def _most_price(self, ledger: Ledger, parts: Sequence[int], new: int, kept: int) -> float:
        """Bound the price where a cap counts it: a token a step, with every draft in vain."""
        if math.isinf(ledger.remaining("price")):
            return 0.0
        prompt = sum(parts)
        passes = new + self._draft_calls(prompt, new)
        compacting = self.compacting(kept + prompt, new, passes)
        reading = sum(self.most_seconds(n) for n in parts) + compacting
        if self.drafting is not None:
            return reading + self.drafting.price(prompt, new)
        steps = range(1, new) if self.drafts else [1] * (new - 1)
        return reading + sum(self.most_seconds(n) for n in steps)

    def _draft_calls(self, prompt: int, new: int) -> int:
        return 0 if self.drafting is None else self.drafting.calls(prompt, new)
