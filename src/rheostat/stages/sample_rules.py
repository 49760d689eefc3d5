"""The rules of stopping that a recording can serve, at the dials worth looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rheostat import catalog
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.policies.fixed_number import FixedNumber
from rheostat.kernel.samples import SampleStart

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


class Choice(NamedTuple):
    """A setting of everything around the model."""

    dtype: str
    """Number format."""
    rule: str
    dial: float
    samples: int
    """Most samples of a question."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return self._asdict()


def choices(
    dtypes: Sequence[str], samples: int, *, offers: frozenset[str] = OFFERS
) -> list[Choice]:
    """Return every setting worth replaying: fixed numbers, and rules at their dials.

    Args:
        dtypes: number formats; with all samples and no rule, the first is the base.
        samples: recorded of each question.
        offers: what the recordings offer to rules.
    """
    most = sorted({max(2, samples // 4), max(2, samples // 2), samples})
    kinds: dict[tuple[Any, ...], Choice] = {}
    for own in rule_settings(offers=offers):
        if own.name == FIXED or catalog.method(own.name).card.control:
            continue
        for n in most:
            kind = (own.name, *_kind(decision(own.name, own.dial), own.dial, n))
            kinds.setdefault(kind, Choice("", own.name, own.dial, n))
    fixed = [Choice("", FIXED, 0.0, n) for n in range(samples, 0, -1)]
    return [own._replace(dtype=d) for d in dtypes for own in (*fixed, *kinds.values())]


def _kind(policy: SamplePolicy, dial: float, samples: int) -> tuple[Any, ...]:
    """Return what tells settings of a rule apart: a fixed number is the same at other dials."""
    if isinstance(policy, Drawing) and isinstance(policy.rule, FixedNumber):
        return (policy.rule.number(SampleStart(question="", samples=samples)),)
    return dial, samples
