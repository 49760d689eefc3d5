"""A constraint made ready for the tokens of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.workloads.constraints import wanted
from rheostat.workloads.grammar_constraint import TokenTexts, grammar_constraint
from rheostat.workloads.predicate_constraint import PredicateConstraint, function_of

if TYPE_CHECKING:
    from rheostat.kernel.constraint import Constraint
    from rheostat.workloads.constraints import Predicate, Wanted


def compiled(asked: Wanted, texts: TokenTexts) -> Constraint:
    """Return the constraint over a model's tokens; a file of functions is run once.

    Raises:
        ConstraintError: the pattern, schema, grammar or function is not one.
        UserError: the extra `constraints` is missing.
    """
    key = (asked, asked.function)
    if key not in texts.known:
        texts.known[key] = _compiled(asked, texts)
    return texts.known[key]


def checked(constraint: str | Predicate) -> Wanted:
    """Read what a user asks for, and refuse what is malformed before any model is loaded."""
    asked = wanted(constraint)
    compiled(asked, TokenTexts([bytes([byte]) for byte in range(256)]))
    return asked


def _compiled(asked: Wanted, texts: TokenTexts) -> Constraint:
    if asked.kind == "predicate":
        return PredicateConstraint(asked.name, function_of(asked), texts.pieces)
    return grammar_constraint(asked, texts)
