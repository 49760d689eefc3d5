"""Parameters of a method as JSON and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from rheostat.errors import MethodError
from rheostat.kernel.method import Card, Method, params_of, with_params

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Halver:
    card: ClassVar[Card] = Card(
        name="halver",
        title="halves",
        seam="depth",
        exactness="lossy",
        paper="control",
        needs=frozenset({"depth.static"}),
    )
    count: int = 4
    share: float = 0.5
    strict: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("`count` must be at least 1")

    def fit(self, profile: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def at(self, dial: float, fitted: Mapping[str, Any], shape: Any) -> float:
        return dial / 2


def test_texts_become_the_types_of_the_defaults() -> None:
    made = with_params(Halver, {"count": "7", "share": "0.25", "strict": "True"})
    assert made == Halver(count=7, share=0.25, strict=True)
    assert isinstance(made, Method)
    assert with_params(Halver, {"strict": "false", "count": 3.0}) == Halver(count=3)


def test_parameters_survive_json() -> None:
    made = Halver(count=9)
    assert with_params(Halver, params_of(made)) == made


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gamma": 3}, "`halver` has no parameter `gamma`"),
        ({"count": "many"}, "`halver.count` must be of type int, got `many`"),
        ({"count": "2.5"}, "`halver.count` must be of type int"),
        ({"count": 2.5}, "`halver.count` must be of type int"),
        ({"count": None}, "`halver.count` must be of type int"),
        ({"strict": "maybe"}, "`halver.strict` must be true or false"),
        ({"count": 0}, "`halver`: `count` must be at least 1"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(params: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        with_params(Halver, params)


def test_the_hint_lists_the_parameters() -> None:
    with pytest.raises(MethodError) as caught:
        with_params(Halver, {"gamma": 3})
    assert caught.value.hint == "its parameters are: `count`, `share`, `strict`"
