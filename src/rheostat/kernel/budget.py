"""`Caps`: the hard limits of an account, and their text form `tokens=20000,seconds=60,usd=0.5`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rheostat.errors import BudgetError

CountedCap = Literal["tokens", "new_tokens", "calls", "price", "usd"]
"""Caps on what adds up: names of `Cost`."""
CapName = Literal["tokens", "new_tokens", "calls", "price", "usd", "seconds"]
"""Every cap; seconds are a deadline and do not add up."""
COUNTED: tuple[CountedCap, ...] = get_args(CountedCap)
WHOLE = frozenset({"tokens", "new_tokens", "calls"})
"""Caps that are whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Caps:
    """Hard limits; None = no limit of this kind."""

    tokens: int | None = None
    """Tokens read and written."""
    new_tokens: int | None = None
    """Tokens written."""
    calls: int | None = None
    """Forward passes, or requests at an endpoint."""
    price: float | None = None
    """Predicted seconds."""
    usd: float | None = None
    """Money."""
    seconds: float | None = None
    """Deadline: nothing starts once so many seconds have passed."""
    grace: float = 0.0
    """Seconds after the deadline in which work already started may end."""

    def __post_init__(self) -> None:
        """Refuse a limit that is negative, not finite, or not whole where it counts things."""
        for name, value in asdict(self).items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BudgetError(f"the budget's `{name}` must be a number, got `{value}`")
            if not math.isfinite(value) or value < 0:
                raise BudgetError(f"the budget's `{name}` must be 0 or more, got `{value}`")
            if name in WHOLE and not isinstance(value, int):
                raise BudgetError(f"the budget's `{name}` must be a whole number, got `{value}`")

    def to_json(self) -> dict[str, Any]:
        """Return the limits that are set, as plain data."""
        limits = {name: value for name, value in asdict(self).items() if value is not None}
        if self.seconds is None:
            del limits["grace"]
        return limits


def parse_budget(text: str) -> Caps:
    """Read `tokens=20000,seconds=60,usd=0.5`; raise `BudgetError` for anything else."""
    values: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise _malformed(f"`{part.strip()}` is not of the form `name=number`")
        if name not in Caps.__dataclass_fields__:
            raise _malformed(f"a budget has no part `{name}`")
        if name in values:
            raise _malformed(f"the budget names `{name}` twice")
        values[name] = _number(name, number)
    return Caps(**values)


def passes(name: str, value: float, limit: float) -> bool:
    """Return whether a value is over a limit; a rounding error of summed floats is not."""
    if name in WHOLE or name == "prompt_tokens":
        return value > limit
    return value > limit and not math.isclose(value, limit, rel_tol=1e-9)


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if name in WHOLE else float(text)
    except ValueError:
        kind = "a whole number" if name in WHOLE else "a number"
        raise _malformed(f"the budget's `{name}` must be {kind}, got `{text}`") from None


def _malformed(message: str) -> BudgetError:
    listed = ", ".join(f"`{name}`" for name in Caps.__dataclass_fields__)
    return BudgetError(
        message, hint=f"write it like `tokens=20000,seconds=60`; the parts are {listed}"
    )
