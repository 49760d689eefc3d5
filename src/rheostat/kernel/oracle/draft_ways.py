"""Every way to draft along an answer that is known, priced without a model, and the oracle's.

The ways: no drafts, the controller as it is, each source with each fixed length whenever it has a
guess (static), sources and lengths by lot (random), and the cheapest steps that the guesses allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, final

from rheostat.kernel.oracle.choices import share_of_saving
from rheostat.kernel.oracle.drafts import oracle_price
from rheostat.kernel.policies.replay import replayed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.policies.draft_control import Controlled
    from rheostat.kernel.policies.replay import StepPrice
    from rheostat.kernel.seams import Drafter, DraftSource, DraftStart

LENGTHS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24)
BASE, CONTROLLER, BY_LOT, ORACLE = "base", "controller", "by lot", "oracle"


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


@final
@dataclass(frozen=True, kw_only=True)
class ByLot:
    """Drafts by a source, and of a length, that are drawn anew for every step: a `Drafter`."""

    sources: Sequence[DraftSource]
    lengths: Sequence[int]

    def start(self, start: DraftStart) -> tuple[Random, list[Any]]:
        """Let the sources read the prompt."""
        return Random(len(start.prompt)), [source.start(start) for source in self.sources]

    def propose(self, state: tuple[Random, list[Any]], limit: int) -> Sequence[int]:
        """Return the guess of the source that is drawn."""
        lot, states = state
        place, length = lot.randrange(len(self.sources)), lot.choice(self.lengths)
        guess = self.sources[place].guess(states[place], length)
        return () if guess is None else guess.tokens[: min(length, limit)]

    def commit(self, state: tuple[Random, list[Any]], tokens: Sequence[int]) -> Any:
        """Let the sources read what was written."""
        held = zip(self.sources, state[1], strict=True)
        return state[0], [source.commit(own, tokens) for source, own in held]


def ways_priced(
    controller: Controlled,
    sources: Mapping[str, DraftSource],
    start: DraftStart,
    answer: Sequence[int],
    step: StepPrice,
) -> dict[str, float]:
    """Price the decoding steps of one answer, a way to draft each.

    Args:
        controller: the sources under control, with the longest draft of each.
        sources: the sources by name, for fixed lengths and the lot.
        start: what they see when the row starts, with the prompt.
        answer: every token written.
        step: price of one step.
    """
    fixed = {
        f"{name} {length}": FixedLength(source=source, length=length)
        for name, source in sources.items()
        for length in LENGTHS
    }
    lot = ByLot(sources=tuple(sources.values()), lengths=LENGTHS)
    ways: dict[str, Drafter | None] = {BASE: None, CONTROLLER: controller, BY_LOT: lot, **fixed}
    return {
        ORACLE: oracle_price(controller.sources, start, answer, step),
        **{name: replayed(way, start, answer, step).price for name, way in ways.items()},
    }


def ways_compared(items: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    """Compare the ways over answers, of each what `ways_priced` returned; None without any."""
    if not items:
        return None
    total = {name: sum(item[name] for item in items) for name in items[0]}
    best = min(fixed_ways(total), key=total.__getitem__)

    def share(name: str) -> float | None:
        return share_of_saving(total[BASE], total[name], total[ORACLE])

    return {
        "controller_ratio": total[BASE] / total[CONTROLLER],
        "oracle_ratio": total[BASE] / total[ORACLE],
        "oracle_share": share(CONTROLLER),
        "best_fixed": best,
        "best_fixed_share": share(best),
        "by_lot_share": share(BY_LOT),
        "controller_over_best_fixed": total[best] / total[CONTROLLER],
        "relative": {name: price / total[BASE] for name, price in total.items()},
    }


def fixed_ways(prices: Mapping[str, float]) -> list[str]:
    """Return the names of the ways that are one source with one length."""
    return [name for name in prices if name not in (BASE, CONTROLLER, BY_LOT, ORACLE)]
