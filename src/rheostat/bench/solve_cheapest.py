"""Which rule keeps the majority's right answers for the fewest tokens, and which within a share?

Rules and dials are chosen on the recordings of the calibration seed: of those that have as many
right answers there as the majority of all samples, the one of the fewest tokens; and of those that
take at most a share of its tokens, the one of the most right answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rheostat.bench.solve_rules import compared, figures, first_votes, hindsight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.kernel.samples import Ended
    from rheostat.stages.recorded import Recorded
    from rheostat.stages.replayed import Drawn

    Rule = Callable[[Sequence[Ended], str], Drawn]

FINE = tuple(n / 20 for n in range(1, 20))
"""Dials to choose from, besides those of the table."""
SHARE = 0.45
"""Of the tokens of all samples, within which the most right answers are looked for."""


class AtDial(NamedTuple):
    """A rule at a dial."""

    name: str
    dial: float


def chosen_rules(
    rules: Mapping[AtDial, Rule], learn: Sequence[Recorded], test: Sequence[Recorded]
) -> dict[str, Any]:
    """Choose rules on some questions, and compare them with all samples there and on others.

    Args:
        rules: to choose from.
        learn: where they are chosen.
        test: where they are judged.

    Returns:
        `cheapest` and `most_right`.
    """
    whole = figures(first_votes(len(learn[0].ended)), learn)
    found = {at: figures(rule, learn) for at, rule in rules.items()}
    enough = {at: f for at, f in found.items() if f.right.mean() >= whole.right.mean()}
    within = {at: f for at, f in found.items() if f.tokens.sum() <= SHARE * whole.tokens.sum()}

    def told(at: AtDial | None) -> dict[str, Any]:
        if at is None:
            return {"name": None, "skipped": "there is no such rule"}
        before = _beside(rules[at], learn) | {"questions": len(learn), "rules": len(rules)}
        return at._asdict() | {"chosen_on": before, **_beside(rules[at], test)}

    return {
        "cheapest": told(min(enough, key=lambda at: enough[at].tokens.mean(), default=None)),
        "most_right": told(max(within, key=lambda at: within[at].right.mean(), default=None)),
    }


def _beside(rule: Rule, questions: Sequence[Recorded]) -> dict[str, Any]:
    whole = figures(first_votes(len(questions[0].ended)), questions)
    return compared(figures(rule, questions), whole, figures(hindsight, questions))
