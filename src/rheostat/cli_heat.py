"""`generate --heat`: every token in the colour of the computation it took.

A step that verifies a draft writes several tokens at the price of one pass, which they share; a
step whose draft was refused is dearer than a plain one. Prices are the profile's, so the colours
are the same from run to run.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, final

from rheostat.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.engines.base import Engine

LEVELS = ((0.25, "36"), (0.5, "32"), (0.9, "33"), (1.1, ""), (float("inf"), "31"))
"""Up to which share of a plain step's price a token has which colour (ECMA-48's numbers): cyan,
green, yellow, none, red."""
RESET = "\x1b[0m"


@final
class Heat:
    """Writes an answer's text in the colours of its tokens' prices."""

    def __init__(self, step: float, write: Callable[[str], None], *, colours: bool) -> None:
        """Start plain: the first token comes with the prompt.

        Args:
            step: predicted seconds of a plain step.
            write: what the text is given to.
            colours: False = the text alone.
        """
        self._step, self._write, self._colours = step, write, colours
        self._colour = ""

    def on_step(self, _: str, tokens: int, seconds: float) -> None:
        """Take in what the next tokens cost together."""
        share = seconds / tokens / self._step
        self._colour = next(colour for most, colour in LEVELS if share <= most)

    def on_token(self, _: str, piece: str) -> None:
        """Write a piece of text."""
        if self._colours and self._colour:
            # line by line, so that a terminal's background never runs on
            start = f"\x1b[{self._colour}m"
            lines = (f"{start}{line}{RESET}" if line else "" for line in piece.split("\n"))
            piece = "\n".join(lines)
        self._write(piece)


def legend(*, colours: bool) -> str:
    """Return what the colours mean; without colours, why there are none."""
    if not colours:
        return "no colours: standard output is no terminal, or NO_COLOR is set"
    names = []
    least = 0.0
    for most, colour in LEVELS:
        words = f"over {least:.0%}" if most == float("inf") else f"up to {most:.0%}"
        names.append(f"\x1b[{colour}m{words}{RESET}" if colour else words)
        least = most
    return f"a token's share of a plain step's price: {', '.join(names)}"


def has_colours() -> bool:
    """Return whether standard output shows colours and may."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def step_price(engine: Engine, context: int) -> float:
    """Return the predicted seconds of a plain step after so many tokens."""
    layers = engine.shape.layers
    return engine.prices().seconds(1, context, attention=layers, mlp=layers, head_rows=1)


def check_heat(engine: Engine, *, chat: bool, as_json: bool, particles: int) -> None:
    """Refuse what shows no steps; raise `UserError`."""
    if chat or as_json or particles:
        other = "--chat" if chat else "--json" if as_json else "--particles"
        raise UserError(
            f"`--heat` colours one answer while it is written, which `{other}` does not show",
            hint=f"leave one of `--heat` and `{other}` out",
        )
    if engine.card.name != "torch":
        raise UserError(
            f"`--heat` shows the steps inside a model, and `{engine.model}` runs elsewhere",
            hint="name a model that runs in this process, such as `smollm2`",
        )


def heated(engine: Engine, context: int, write: Callable[[str], None]) -> dict[str, Any]:
    """Return the arguments of `generate` that colour its text."""
    heat = Heat(step_price(engine, context), write, colours=has_colours())
    return {"on_token": heat.on_token, "on_step": heat.on_step}
