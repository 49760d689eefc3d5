"""Draft control in hindsight, by the price table: the controller, its controls, and the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rheostat.kernel.oracle.draft_ways import fixed_ways, ways_priced
from rheostat.kernel.seams import DraftStart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.engines.base import Engine, Request
    from rheostat.kernel.policies.draft_control import Controlled
    from rheostat.kernel.seams import DraftSource


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
    return ways_priced(controller, sources, start, answer, step)


def together(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the controller with every single fixed setting over workloads of equal weight.

    Args:
        cells: what `ways_compared` returned of each workload of one format.
    """
    mean = {
        name: sum(cell["relative"][name] for cell in cells) / len(cells)
        for name in cells[0]["relative"]
    }
    best = min(fixed_ways(mean), key=mean.__getitem__)
    return {
        "controller_ratio": 1 / mean["controller"],
        "oracle_ratio": 1 / mean["oracle"],
        "best_fixed": best,
        "controller_over_best_fixed": mean[best] / mean["controller"],
    }
