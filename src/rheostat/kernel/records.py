"""The small values of the ledger: a `Record` of its books, and the `Refusal` of a reservation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rheostat.kernel.budget import CapName
    from rheostat.kernel.cost import Cost

Kind = Literal["charge", "overrun", "estimate", "cancel", "close"]
"""Observed work; observed work over its reservation; unknown work settled at its reservation;
a reservation given back; an account closed."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the books; the costs of all records add up to what was spent."""

    sequence: int
    """Position in the books, from 0."""
    account: str
    """Path of the account, such as `total/question 7`."""
    kind: Kind
    cost: Cost
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a reservation was not granted: an ordinary answer, not an error."""

    account: str
    """Path of the account that refused: the one asked or an ancestor of it."""
    cap: CapName | Literal["closed"]
    """The cap that would be passed; `closed` when the account admits nothing any more."""
    limit: float
    """The cap's value; 0 for a closed account."""
    asked: float
    """What spent, reserved and asked for would have come to; 0 for a closed account."""

    def __str__(self) -> str:
        """Return the refusal as a sentence."""
        if self.cap == "closed":
            return f"the account `{self.account}` is closed"
        return (
            f"`{self.cap}` of the account `{self.account}` would come to {self.asked:g}, "
            f"its cap is {self.limit:g}"
        )
