"""Run the base and a plan on the same items in turn, so that a drifting machine meets both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rheostat.catalog import installed as install
from rheostat.kernel.seams import Installed

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
    base_seconds = sum(base.cost.seconds for base, _ in pairs)
    base_price = sum(base.cost.price for base, _ in pairs)
    return Compared(
        items=len(pairs),
        exact_match=sum(a.token_ids == b.token_ids for a, b in pairs) / len(pairs),
        price_ratio=sum(own.cost.price for _, own in pairs) / base_price if base_price else 1.0,
        seconds_ratio=(
            sum(own.cost.seconds for _, own in pairs) / base_seconds if base_seconds else 1.0
        ),
    )
