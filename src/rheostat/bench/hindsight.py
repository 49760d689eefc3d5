"""Draft control in hindsight, by the price table: the controller, fixed lengths, and the oracle.

The base's answers are known, so every way to draft along them is priced without the model: the
controller as it is, each source with each fixed draft length whenever it has a guess, and the
cheapest steps that the sources' guesses allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from rheostat.kernel.policies.draft_oracle import oracle_price
from rheostat.kernel.policies.replay import replayed
from rheostat.kernel.seams import DraftStart

if TYPE_CHECKING:
    from rheostat.engines.base import Engine, Request
    from rheostat.kernel.policies.draft_control import Controlled
    from rheostat.kernel.seams import DraftSource

LENGTHS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24)

Prices = Mapping[str, float]
"""What the decoding steps of an answer cost, a way to draft each."""


@final
@dataclass(frozen=True, kw_only=True)
class FixedLength:
    """Drafts the same number of tokens whenever its source guesses: a `Drafter`."""

    source: DraftSource
    length: int

    def start(self, start: DraftStart) -> Any:
        """Let the source read the prompt."""
        return self.source.start(start)

    def propose(self, state: Any, limit: int) -> Sequence[int]:
        """Return the guess."""
        guess = self.source.guess(state, self.length)
        return () if guess is None else guess.tokens[: min(self.length, limit)]

    def commit(self, state: Any, tokens: Sequence[int]) -> Any:
        """Let the source read what was written."""
        return self.source.commit(state, tokens)


def priced(
    engine: Engine,
    item: Request,
    answer: Sequence[int],
    *,
    controller: Controlled,
    sources: Mapping[str, DraftSource],
) -> dict[str, float]:
    """Price the decoding steps of one answer.

    Args:
        answer: the base's tokens.
        controller: the sources under control, with the longest draft of each.
        sources: the sources by name, for fixed lengths.
    """
    prices, layers = engine.prices(), engine.shape.layers

    def step(n: int, context: int) -> float:
        return prices.seconds(n, context, attention=layers, mlp=layers, head_rows=n)

    start = DraftStart(prompt=engine.encode(item), special=engine.special, step_seconds=step)
    fixed = {
        f"{name} {length}": FixedLength(source=source, length=length)
        for name, source in sources.items()
        for length in LENGTHS
    }
    ways = {"base": None, "controller": controller, **fixed}
    return {
        "oracle": oracle_price(controller.sources, start, answer, step),
        **{name: replayed(way, start, answer, step).price for name, way in ways.items()},
    }


def hindsight(items: Sequence[Prices]) -> dict[str, Any] | None:
    """Compare the ways on all items of a workload; None without items."""
    if not items:
        return None
    total = {name: sum(item[name] for item in items) for name in items[0]}
    best = min(_fixed(total), key=total.__getitem__)
    saving = total["base"] - total["oracle"]
    return {
        "controller_ratio": total["base"] / total["controller"],
        "oracle_ratio": total["base"] / total["oracle"],
        "oracle_share": (total["base"] - total["controller"]) / saving if saving > 0 else None,
        "best_fixed": best,
        "controller_over_best_fixed": total[best] / total["controller"],
        "relative": {name: price / total["base"] for name, price in total.items()},
    }


def together(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the controller with every single fixed setting over workloads of equal weight.

    Args:
        cells: what `hindsight` returned of each workload of one format.
    """
    mean = {
        name: sum(cell["relative"][name] for cell in cells) / len(cells)
        for name in cells[0]["relative"]
    }
    best = min(_fixed(mean), key=mean.__getitem__)
    return {
        "controller_ratio": 1 / mean["controller"],
        "oracle_ratio": 1 / mean["oracle"],
        "best_fixed": best,
        "controller_over_best_fixed": mean[best] / mean["controller"],
    }


def _fixed(prices: Prices) -> list[str]:
    return [name for name in prices if name not in ("base", "controller", "oracle")]
