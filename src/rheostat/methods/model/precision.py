"""Precision: the same weights in another number format do the work.

`gguf` reads the file's own four-bit matrices, `bfloat16` half the bytes of float32; both round
otherwise, so that a few tokens differ (`rheostat bench numerics`). The base stays in the plan's
number format, and losses are told against it. No paper: the formats are the engine's.

A plan has it only where the user allows a format: memory then holds the weights in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.seams import NumberFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape

FORMATS = ("gguf", "bfloat16")
"""Those that can be cheaper than float32, the cheapest first."""


@final
@dataclass(frozen=True, kw_only=True)
class Precision:
    """Lets the model work in another number format."""

    format: str = "gguf"
    """`gguf` or `bfloat16`."""

    card: ClassVar[Card] = Card(
        name="precision",
        title="lets the same weights work in another number format",
        seam="model",
        exactness="lossy",
        paper="none",
        needs=frozenset({"precision"}),
        variants=({"format": "gguf"}, {"format": "bfloat16"}),
    )

    def __post_init__(self) -> None:
        """Refuse other formats."""
        checked_formats((self.format,))

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> NumberFormat | None:
        """Return the format; dial 0 is the base's own."""
        return None if dial == 0 else NumberFormat(self.format)


def checked_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Return number formats that a plan may choose; raise `MethodError` for others."""
    for name in formats:
        if name not in FORMATS:
            raise MethodError(
                f"`{name}` is no number format that a plan can choose",
                hint=f"choose among: {', '.join(FORMATS)}",
            )
    return tuple(formats)
