"""The rules of stopping that a recording can serve, at the dials worth looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rheostat import catalog
from rheostat.kernel.plan import Plan, Setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rheostat.kernel.samples import SamplePolicy

OFFERS = frozenset({"sample", "sample.logprobs"})
"""What a recording offers to a rule."""
FIXED = "majority"
"""The rule that draws a fixed number of samples."""
DIALS = (0.25, 0.5, 0.75, 1.0)
ERRORS = (0.01, 0.05, 0.1, 0.2)
"""Dials of rules whose dial is an error rate."""


class RuleSetting(NamedTuple):
    """A rule at a dial."""

    name: str
    dial: float
    usual: float
    """The rule's usual dial."""


def rule_settings(
    more: Sequence[float] = (), *, offers: frozenset[str] = OFFERS
) -> list[RuleSetting]:
    """Return every rule that samples with such offers can serve, at its dials and some more."""
    found = []
    for name, method in catalog.methods().items():
        card = method.card
        if card.seam == "sample" and card.needs <= offers and not card.reads:
            dials = {card.usual, *(ERRORS if card.by_confidence else DIALS), *more}
            found += [RuleSetting(name, dial, card.usual) for dial in sorted(dials)]
    return found


def decision(name: str, dial: float, *, offers: Iterable[str] = OFFERS) -> SamplePolicy:
    """Return a rule's policy at a dial, where samples have such offers."""
    plan = Plan(model="", methods=(Setting(name=name, dial=dial),))
    policy = catalog.installed(plan, None, offers).sample
    assert policy is not None
    return policy
