"""`Ledger`: a tree of accounts with hard caps; solvers reserve, engines settle observed work.

A reservation of at most b is granted when spent + reserved + b <= cap for every cap of the account
and of all its ancestors. Work is charged as it is observed, and what a reservation did not use
is released when it closes. Seconds are a deadline: callers pass the seconds elapsed, since there
is no clock here. Single-threaded by design: one driver owns a ledger.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from rheostat.errors import BudgetError
from rheostat.kernel.budget import COUNTED, CapName, Caps, passes
from rheostat.kernel.cost import Cost, checked
from rheostat.kernel.records import Kind, Record, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator


@final
class Reservation:
    """An upper bound on work that may now be done; ended once, by exactly one of its methods."""

    def __init__(self, account: Ledger, bound: Cost, note: str) -> None:
        """Made by `Ledger.try_reserve` alone."""
        self.account = account
        self.bound = bound
        self.note = note
        self.charged = Cost()
        self.open = True

    @property
    def rest(self) -> Cost:
        """What is still reserved."""
        return self.bound.left_after(self.charged) if self.open else Cost()

    def charge(self, cost: Cost) -> None:
        """Record observed work while the reservation stays open."""
        self._check_open()
        observed = self.charged + checked(cost)
        kind: Kind = "overrun" if self._exceeded_by(observed) else "charge"
        self._spend(kind, cost, self.note)

    def settle(self, cost: Cost) -> None:
        """Record the last observed work and release the rest."""
        self.charge(cost)
        self.close()

    def close(self) -> None:
        """End work that is charged in full; the rest is released."""
        self._check_open()
        self.account._move_reserved(self.rest, Cost(), opened=-1)
        self.open = False

    def cancel(self, note: str = "") -> None:
        """End work before its time; what was charged stays, the rest is released."""
        self.close()
        self.account._write("cancel", Cost(), note or self.note)

    def fail(self, note: str = "") -> None:
        """End work of unknown usage: the rest counts as spent, marked estimated."""
        self._check_open()
        self._spend("estimate", replace(self.rest, estimated=True), note or self.note)
        self.close()

    def _spend(self, kind: Kind, cost: Cost, note: str) -> None:
        before = self.rest
        self.charged = self.charged + cost
        self.account._move_reserved(before, self.rest)
        self.account._write(kind, cost, note)

    def _exceeded_by(self, observed: Cost) -> bool:
        # Tokens are always promised; calls, price and money where the bound states them or a cap
        # above counts them: an engine need not predict what nobody limits.
        promised = {"prompt_tokens", "new_tokens"}
        promised |= {name for name in COUNTED if getattr(self.bound, name)}
        promised |= {
            name
            for name in COUNTED
            for account in self.account.lineage()
            if getattr(account.caps, name) is not None
        }
        return any(
            passes(name, getattr(observed, name), getattr(self.bound, name)) for name in promised
        )

    def _check_open(self) -> None:
        if not self.open:
            raise BudgetError(
                f"a reservation of the account `{self.account.path}` was already settled"
            )


@final
class Ledger:
    """An account: its caps, what was spent and is reserved in it and below it."""

    def __init__(self, caps: Caps | None = None, *, name: str = "total") -> None:
        """Open the books with a root account; `child` opens accounts below it."""
        self.path = name
        self.caps = caps or Caps()
        self.own = Cost()
        """Spent here, not below."""
        self.spent = Cost()
        """Spent here and below."""
        self.reserved = Cost()
        """Reserved here and below, not yet spent."""
        self.closed = ""
        """Why the account admits nothing any more; empty while it is open."""
        self.children: dict[str, Ledger] = {}
        self._parent: Ledger | None = None
        self._books: list[Record] = []
        self._open = 0

    def child(self, name: str, caps: Caps | None = None) -> Ledger:
        """Open an account below this one; its caps may be wider, the narrower one binds."""
        if not name or "/" in name or name in self.children:
            raise BudgetError(
                f"`{name}` cannot be the name of an account under `{self.path}`",
                hint="a name is not empty, holds no `/` and is used once",
            )
        account = Ledger(caps, name=f"{self.path}/{name}")
        account._parent = self
        account._books = self._books
        self.children[name] = account
        return account

    def lineage(self) -> Iterator[Ledger]:
        """Yield the account and its ancestors, the root last."""
        account: Ledger | None = self
        while account is not None:
            yield account
            account = account._parent

    @property
    def root(self) -> Ledger:
        """The account at the top."""
        return list(self.lineage())[-1]

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of this account and those below it, oldest first."""
        below = f"{self.path}/"
        return tuple(r for r in self._books if f"{r.account}/".startswith(below))

    def try_reserve(
        self, bound: Cost, *, elapsed: float = 0.0, note: str = ""
    ) -> Reservation | Refusal:
        """Reserve work of at most `bound`, or say which account and cap refuses it.

        The bound states tokens always; calls, price and money where a cap above counts them.
        """
        checked(bound)
        for account in self.lineage():
            refusal = account._refusal(bound, elapsed)
            if refusal is not None:
                return refusal
        self._move_reserved(Cost(), bound, opened=1)
        return Reservation(self, bound, note)

    def reserve(self, bound: Cost, *, elapsed: float = 0.0, note: str = "") -> Reservation:
        """Reserve work of at most `bound`, or raise `BudgetError`."""
        answer = self.try_reserve(bound, elapsed=elapsed, note=note)
        if isinstance(answer, Refusal):
            raise BudgetError(str(answer), hint="give a larger budget or ask for less")
        return answer

    def remaining(self, cap: CapName, *, elapsed: float = 0.0) -> float:
        """Return what a reservation could still get of this; infinite without a cap."""
        left = math.inf
        for account in self.lineage():
            limit = getattr(account.caps, cap)
            if account.closed:
                return 0
            if limit is not None:
                used = elapsed if cap == "seconds" else account._taken(cap)
                left = min(left, max(0, limit - used))
        return left

    def overdue(self, elapsed: float) -> bool:
        """Return whether running work must stop: a deadline here or above and its grace passed."""
        return any(
            not elapsed <= account.caps.seconds + account.caps.grace
            for account in self.lineage()
            if account.caps.seconds is not None
        )

    def close(self, note: str = "") -> None:
        """Admit nothing any more, here and below; open reservations go on."""
        if not self.closed:
            self.closed = note or "closed"
            self._write("close", Cost(), self.closed)

    def to_json(self) -> dict[str, Any]:
        """Return the totals of the tree as plain data."""
        return {
            "account": self.path,
            "caps": self.caps.to_json(),
            "spent": self.spent.to_json(),
            "reserved": self.reserved.to_json(),
            "closed": self.closed,
            "children": [child.to_json() for child in self.children.values()],
        }

    def _refusal(self, bound: Cost, elapsed: float) -> Refusal | None:
        if self.closed:
            return Refusal(account=self.path, cap="closed", limit=0, asked=0)
        for cap in COUNTED:
            limit = getattr(self.caps, cap)
            asked = self._taken(cap) + getattr(bound, cap)
            if limit is not None and passes(cap, asked, limit):
                return Refusal(account=self.path, cap=cap, limit=limit, asked=asked)
        deadline = self.caps.seconds
        if deadline is None:
            return None
        end = elapsed + bound.seconds
        # Written so that a NaN is refused.
        if elapsed < deadline and end <= deadline + self.caps.grace:
            return None
        return Refusal(account=self.path, cap="seconds", limit=deadline, asked=end)

    def _taken(self, cap: CapName) -> float:
        taken: float = getattr(self.spent, cap) + getattr(self.reserved, cap)
        return taken

    def _move_reserved(self, before: Cost, after: Cost, *, opened: int = 0) -> None:
        for account in self.lineage():
            account._open += opened
            moved = account.reserved.left_after(before) + after
            # Differences of floats leave crumbs: with nothing open, nothing is reserved.
            account.reserved = moved if account._open else Cost()

    def _write(self, kind: Kind, cost: Cost, note: str) -> None:
        self._books.append(
            Record(sequence=len(self._books), account=self.path, kind=kind, cost=cost, note=note)
        )
        self.own = self.own + cost
        for account in self.lineage():
            account.spent = account.spent + cost
        if kind == "overrun" and not self.closed:
            self.closed = f"overrun: {note}" if note else "overrun"
