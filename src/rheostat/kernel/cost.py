"""`Cost`: what a piece of work took, as one vector that adds up."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from rheostat.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Counted work (integers), its price, and what it took in seconds and money."""

    flops: int = 0
    """Floating-point operations, one multiply-add = 2."""
    bytes: int = 0
    """Weights and cached keys and values read, in bytes."""
    prompt_tokens: int = 0
    """Tokens read."""
    new_tokens: int = 0
    """Tokens written."""
    calls: int = 0
    """Forward passes of a model; requests at an endpoint."""
    price: float = 0.0
    """Predicted seconds from the machine's profile; deterministic. 0 without a profile."""
    seconds: float = 0.0
    """Measured seconds."""
    usd: float = 0.0
    """Money."""
    estimated: bool = False
    """True when a part was settled at its reservation because its usage is unknown."""

    def __add__(self, other: Cost) -> Cost:
        """Add the two vectors; `estimated` is contagious."""
        return Cost(
            **{
                f.name: (
                    self.estimated or other.estimated
                    if f.name == "estimated"
                    else getattr(self, f.name) + getattr(other, f.name)
                )
                for f in fields(Cost)
            }
        )

    def left_after(self, spent: Cost) -> Cost:
        """Return what is left of this bound after `spent`, never below zero in any field."""
        return Cost(
            **{
                f.name: max(f.default, getattr(self, f.name) - getattr(spent, f.name))
                for f in fields(Cost)
                if f.name != "estimated"
            }
        )

    @property
    def tokens(self) -> int:
        """Tokens read and written together."""
        return self.prompt_tokens + self.new_tokens

    def to_json(self) -> dict[str, Any]:
        """Return plain data with every field present."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Cost:
        """Read what `to_json` wrote; unknown keys are refused by the constructor."""
        return Cost(**data)


def total(costs: Iterable[Cost]) -> Cost:
    """Sum costs; the empty sum is the zero cost."""
    result = Cost()
    for cost in costs:
        result = result + cost
    return result


def checked(cost: Cost) -> Cost:
    """Return the cost, or raise `BudgetError` when a field is negative or not finite."""
    for field in fields(cost):
        value = getattr(cost, field.name)
        if not (math.isfinite(value) and value >= 0):
            raise BudgetError(f"`{field.name}` of a cost must be 0 or more, got `{value}`")
    return cost
