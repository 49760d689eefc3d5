"""What a method says of itself (`Card`) and what every method can do (`Method`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from rheostat.errors import MethodError

if TYPE_CHECKING:
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Exactness, Seam

Fitted = Mapping[str, Any]
"""Numbers learnt from a profile: plain JSON data."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A method's facts, readable without torch."""

    name: str
    """The file's stem, unique over all seams."""
    title: str
    """What it does, in one line."""
    seam: Seam
    """The question that it answers."""
    exactness: Exactness
    """`bitwise`, `distribution` or `lossy`."""
    paper: str
    """Source, such as `arXiv:2406.15786`; `control` for a control of ours."""
    needs: frozenset[str]
    """What the engine must offer, such as `depth.static` or `draft`."""
    reads: frozenset[str] = frozenset()
    """Parts of the profile that `fit` reads, such as `redundancy`."""
    variants: tuple[Mapping[str, Any], ...] = ({},)
    """Parameters worth searching beside the dial; {} = the defaults."""
    control: bool = False
    """True for a control: it exists to be beaten."""
    by_confidence: bool = False
    """Whether the dial is 1 - the confidence that is asked for."""
    usual: float = 1.0
    """The dial of a method that is named without one."""
    paper_title: str = ""
    """Title of the paper; empty = another card with the same `paper` gives it."""
    authors: str = ""
    """The paper's authors in its order, parted by commas."""


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of parameters, with a card, a fit and a decision at a dial."""

    card: ClassVar[Card]

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn numbers from a profile (the JSON of `profile.json`); plain data comes back."""

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Any:
        """Return the decision at a dial, by the card's seam: a `Depth`, `Drafter`, …"""


def with_params(method: type[Method], params: Mapping[str, Any]) -> Method:
    """Build a method from JSON parameters, converting texts by the field's default."""
    known = {f.name: f for f in fields(method)}  # type: ignore[arg-type]  # always a dataclass
    values: dict[str, Any] = {}
    for name, value in params.items():
        if name not in known:
            listed = ", ".join(f"`{n}`" for n in known) or "none"
            raise MethodError(
                f"`{method.card.name}` has no parameter `{name}`",
                hint=f"its parameters are: {listed}",
            )
        values[name] = _converted(value, known[name].default, f"{method.card.name}.{name}")
    try:
        return method(**values)
    except ValueError as error:
        raise MethodError(f"`{method.card.name}`: {error}") from error


def params_of(method: Method) -> dict[str, Any]:
    """Return every parameter of a method as plain data."""
    return asdict(method)  # type: ignore[call-overload,no-any-return]  # always a dataclass


def _converted(value: Any, default: Any, name: str) -> Any:
    kind = type(default)
    if kind is bool and isinstance(value, str):
        if value.lower() not in {"true", "false"}:
            raise MethodError(f"`{name}` must be true or false, got `{value}`")
        return value.lower() == "true"
    try:
        if kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError
        return kind(value)
    except (TypeError, ValueError):
        raise MethodError(
            f"`{name}` must be of type {kind.__name__}, got `{value}`",
            hint=f"its default is `{default}`",
        ) from None
