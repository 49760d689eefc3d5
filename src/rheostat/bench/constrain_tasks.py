"""Tasks of the suite `constrain`: prompts, a constraint, and a judge that knows nothing of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.workloads.constraints import Wanted, wanted

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT = {"type": "string", "minLength": 1, "maxLength": 24}
PERSON = {
    "type": "object",
    "properties": {"name": _TEXT, "age": {"type": "integer"}, "city": _TEXT},
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}
DATE = r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


@dataclass(frozen=True, kw_only=True)
class Task:
    """Prompts under one constraint."""

    name: str
    constraint: Wanted
    prompts: tuple[str, ...]
    valid: Callable[[str], bool]
    """Judges a whole answer."""


def without_e(text: str) -> bool:
    """Return whether a text does without the letter e."""
    return "e" not in text.lower()


def is_person(text: str) -> bool:
    """Return whether a text is JSON of `PERSON`."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return (
        isinstance(found, dict)
        and set(found) == {"name", "age", "city"}
        and type(found["age"]) is int
        and all(
            isinstance(found[key], str) and 0 < len(found[key]) < 25 for key in ("name", "city")
        )
    )


TASKS = (
    Task(
        name="schema",
        constraint=Wanted(kind="schema", name="schema:person.json", source=json.dumps(PERSON)),
        prompts=(
            "Invent a sailor. Answer in JSON with name, age and city.",
            "Who lives next door? Answer in JSON with name, age and city.",
            "Describe a young painter from Lisbon in JSON with name, age and city.",
            "Give one line of JSON about a teacher: name, age, city.",
        ),
        valid=is_person,
    ),
    Task(
        name="regex",
        constraint=wanted(f"regex:{DATE}"),
        prompts=(
            "On which date did people first walk on the moon? Answer as YYYY-MM-DD.",
            "When did the Berlin Wall fall? Answer as YYYY-MM-DD.",
            "Give a date in spring 2010 as YYYY-MM-DD.",
            "When did the Second World War end in Europe? Answer as YYYY-MM-DD.",
        ),
        valid=lambda text: re.fullmatch(DATE, text) is not None,
    ),
    Task(
        name="predicate",
        constraint=wanted(without_e),
        prompts=(
            "Write two sentences about the sea.",
            "Tell me what a cat does all day.",
            "Describe a rainy morning.",
            "Why do people sing?",
        ),
        valid=without_e,
    ),
)
"""Each is asked greedily and with drawn tokens."""
