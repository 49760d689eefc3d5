"""Budgets as text and as caps."""

from __future__ import annotations

import math

import pytest

from rheostat.errors import BudgetError
from rheostat.kernel.budget import Caps, parse_budget, passes


def test_every_part_of_a_budget_is_read() -> None:
    text = "tokens=20000, new_tokens=5,calls=3,price=1.5,usd=0.5,seconds=60,grace=2"
    assert parse_budget(text) == Caps(
        tokens=20000, new_tokens=5, calls=3, price=1.5, usd=0.5, seconds=60, grace=2
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`` is not of the form"),
        ("tokens", "`tokens` is not of the form"),
        ("tokens=1,", "`` is not of the form"),
        ("samples=5", "no part `samples`"),
        ("tokens=1,tokens=2", "twice"),
        ("tokens=1.5", "`tokens` must be a whole number, got `1.5`"),
        ("usd=much", "`usd` must be a number, got `much`"),
        ("usd=-1", "`usd` must be 0 or more, got `-1.0`"),
        ("seconds=nan", "`seconds` must be 0 or more"),
        ("price=inf", "`price` must be 0 or more"),
    ],
)
def test_a_malformed_budget_is_refused_by_its_part(text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message.replace(".", r"\.")):
        parse_budget(text)


@pytest.mark.parametrize("value", [True, "5"])
def test_a_cap_is_a_number(value: object) -> None:
    with pytest.raises(BudgetError, match="must be a number"):
        Caps(usd=value)  # type: ignore[arg-type]


def test_a_count_is_whole() -> None:
    with pytest.raises(BudgetError, match="whole"):
        Caps(tokens=1.5)  # type: ignore[arg-type]


def test_a_cap_of_zero_survives_json() -> None:
    assert Caps(tokens=0).to_json() == {"tokens": 0}
    assert Caps().to_json() == {}


def test_rounding_is_no_excess_but_one_token_is() -> None:
    assert not passes("usd", math.nextafter(1.0, 2.0), 1.0)
    assert passes("usd", 1.0001, 1.0)
    assert passes("tokens", 10**12 + 1, 10**12)
