"""Run the base and a plan on the same items in turn, so that a drifting machine meets both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rheostat.catalog import installed as install
from rheostat.kernel.seams import Installed
from rheostat.stages.intervals import ratio_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import Engine, Output, Sampling
    from rheostat.kernel.plan import Plan
    from rheostat.stages.losses import Sample


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A plan against the base on the same items."""

    items: int
    exact_match: float
    """Share of items whose tokens are the base's."""
    price_ratio: float
    """Predicted seconds of the executed work, plan over base."""
    seconds_ratio: float
    """Measured seconds, plan over base."""
    flops_ratio: float
    bytes_ratio: float
    seconds_interval: Sequence[float]
    """95 % interval over items."""
    flops_interval: Sequence[float]
    bytes_interval: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def side_by_side(
    engine: Engine,
    plan: Plan,
    samples: Sequence[Sample],
    sampling: Sampling,
    say: Callable[[str], None],
) -> Compared:
    """Generate each item with the base and with the plan, the order alternating."""
    decision = install(plan, engine.shape, engine.card.offers)
    pairs: list[tuple[Output, Output]] = []
    for i, sample in enumerate(samples):
        say(f"base and plan answer item {i + 1} of {len(samples)}")
        order = (Installed(), decision) if i % 2 == 0 else (decision, Installed())
        first, second = (
            next(iter(engine.generate([sample.request], sampling, installed=one))) for one in order
        )
        pairs.append((first, second) if i % 2 == 0 else (second, first))
    exact = sum(base.token_ids == own.token_ids for base, own in pairs)
    names = ("price", "seconds", "flops", "bytes")
    both = {n: [(getattr(own.cost, n), getattr(b.cost, n)) for b, own in pairs] for n in names}
    return Compared(
        items=len(pairs),
        exact_match=exact / len(pairs),
        price_ratio=_ratio(both["price"]),
        seconds_ratio=_ratio(both["seconds"]),
        flops_ratio=_ratio(both["flops"]),
        bytes_ratio=_ratio(both["bytes"]),
        seconds_interval=_interval(both["seconds"]),
        flops_interval=_interval(both["flops"]),
        bytes_interval=_interval(both["bytes"]),
    )


def _ratio(both: Sequence[tuple[float, float]]) -> float:
    """Return own costs over the base's; 1 where nothing was counted."""
    base = sum(pair[1] for pair in both)
    return sum(pair[0] for pair in both) / base if base else 1.0


def _interval(both: Sequence[tuple[float, float]]) -> tuple[float, float]:
    if not all(pair[1] > 0 for pair in both):
        return (1.0, 1.0)
    return ratio_interval([pair[0] for pair in both], [pair[1] for pair in both])
