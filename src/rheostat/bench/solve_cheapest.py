"""Which rule keeps the majority's right answers for the fewest tokens?

Rule and dial are chosen on the recordings of the calibration seed: of those that have as many
right answers there as the majority of all samples, the one of the fewest tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rheostat.bench.solve_rules import compared, figures, first_votes, hindsight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.solve_recordings import Recorded
    from rheostat.bench.solve_rules import Drawn
    from rheostat.kernel.samples import Ended

    Rule = Callable[[Sequence[Ended], str], Drawn]

FINE = (0.3, 0.35, 0.4, 0.45)
"""Dials to choose from, besides those of the table."""


class AtDial(NamedTuple):
    """A rule at a dial."""

    name: str
    dial: float


def cheapest(
    rules: Mapping[AtDial, Rule], learn: Sequence[Recorded], test: Sequence[Recorded]
) -> dict[str, Any]:
    """Choose a rule on some questions, and compare it with all samples there and on others.

    Args:
        rules: to choose from.
        learn: where it is chosen.
        test: where it is judged.
    """
    found = {}
    samples = len(learn[0].ended)
    whole = figures(first_votes(samples), learn)
    for at, rule in rules.items():
        own = figures(rule, learn)
        if own.right.mean() >= whole.right.mean():
            found[at] = float(own.tokens.mean())
    if not found:
        return {"name": None, "skipped": "no rule has as many right answers as all samples"}
    best = min(found, key=found.__getitem__)
    return best._asdict() | {
        "chosen_on": _beside(rules[best], learn) | {"questions": len(learn), "rules": len(rules)},
        **_beside(rules[best], test),
    }


def _beside(rule: Rule, questions: Sequence[Recorded]) -> dict[str, Any]:
    whole = figures(first_votes(len(questions[0].ended)), questions)
    return compared(figures(rule, questions), whole, figures(hindsight, questions))
