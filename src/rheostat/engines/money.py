"""What tokens cost in money: a table that the user gives, in dollars a million tokens.

{"gpt-small": {"prompt": 0.15, "new": 0.6}, "*": {"prompt": 1, "new": 2}}

The name is the model's, for an endpoint the part behind `#`; `*` is any other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rheostat.errors import BudgetError

if TYPE_CHECKING:
    from pathlib import Path

    from rheostat.kernel.cost import Cost

EXAMPLE = '{"MODEL": {"prompt": 0.15, "new": 0.6}} in dollars a million tokens'


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: float = Field(ge=0, allow_inf_nan=False)
    new: float = Field(ge=0, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class TokenPrices:
    """Dollars a million tokens of one model."""

    prompt: float
    new: float

    def priced(self, cost: Cost) -> Cost:
        """Return a cost with its money filled in."""
        usd = (self.prompt * cost.prompt_tokens + self.new * cost.new_tokens) / 1e6
        return replace(cost, usd=usd)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"prompt": self.prompt, "new": self.new}


def read_prices(path: Path, model: str) -> TokenPrices:
    """Return a model's line of a price table.

    Raises:
        BudgetError: there is no such file, it is malformed, or has no line for the model.
    """
    hint = f"a price table is JSON such as {EXAMPLE}"
    try:
        table = TypeAdapter(dict[str, _Line]).validate_python(
            json.loads(path.read_text(encoding="utf-8"))
        )
    except OSError as error:
        raise BudgetError(
            f"the price table `{path}` cannot be read: {error.strerror}", hint=hint
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BudgetError(
            f"the price table `{path}` is malformed at `{place}`: {first['msg']}", hint=hint
        ) from error
    except ValueError as error:
        raise BudgetError(f"the price table `{path}` is not JSON: {error}", hint=hint) from error
    names = (model, model.rpartition("#")[2], "*")
    line = next((table[name] for name in names if name in table), None)
    if line is None:
        raise BudgetError(f"the price table `{path}` has no line for `{model}`", hint=hint)
    return TokenPrices(prompt=line.prompt, new=line.new)
