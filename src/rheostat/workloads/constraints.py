"""What an answer must be, as a user writes it.

regex:PATTERN     the whole answer matches a regular expression
schema:FILE       the answer is JSON, valid under the JSON Schema in the file
grammar:FILE      the answer is a word of the Lark-like grammar in the file
FILE.py:FUNC      a function of yours says whether a text may begin an answer
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from rheostat.errors import ConstraintError

Kind = Literal["regex", "schema", "grammar", "predicate"]
Predicate = Callable[..., Any]
"""func(text) or func(text, ended): may an answer begin with the text; if `ended`, be the text?"""
FORMS = "`regex:PATTERN`, `schema:FILE`, `grammar:FILE` or `FILE.py:FUNC`"
_PREFIXES: tuple[Kind, ...] = ("regex", "schema", "grammar")


@final
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A constraint before it meets a model's tokens."""

    kind: Kind
    name: str
    """As the user wrote it."""
    source: str
    """The pattern, or what the file held when it was read."""
    function: Predicate | None = field(default=None, compare=False)
    """A function that was given as such."""

    def to_json(self) -> dict[str, str]:
        """Return plain data that tells one constraint from another."""
        return {"kind": self.kind, "name": self.name, "source": self.source}


def wanted(constraint: str | Predicate) -> Wanted:
    """Read what a user asks for; raise `ConstraintError` when it has none of the forms."""
    if not isinstance(constraint, str):
        name = str(getattr(constraint, "__name__", "function"))
        return Wanted(kind="predicate", name=name, source="", function=constraint)
    head, _, rest = constraint.partition(":")
    for kind in _PREFIXES:
        if head == kind and rest:
            source = rest if kind == "regex" else _read(constraint, rest)
            return Wanted(kind=kind, name=constraint, source=source)
    path, _, function = constraint.rpartition(":")
    if path.endswith(".py") and function.isidentifier():
        return Wanted(kind="predicate", name=constraint, source=_read(constraint, path))
    raise ConstraintError(f"`{constraint}` is no constraint", hint=f"write {FORMS}")


def _read(constraint: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConstraintError(
            f"the file of the constraint `{constraint}` cannot be read: {error.strerror}",
            hint=f"write {FORMS}",
        ) from error
    except UnicodeDecodeError as error:
        raise ConstraintError(
            f"the file of the constraint `{constraint}` is not valid UTF-8",
            hint="save it as UTF-8",
        ) from error
