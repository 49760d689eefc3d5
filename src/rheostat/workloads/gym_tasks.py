"""Tasks of reasoning-gym (arXiv 2505.24760): `gym:NAME?setting=value&…&size=100&seed=500000`.

The package seeds item i with seed + i, so runs with neighbouring seeds share questions: calibrate
far away from where you test. Items of equal text are taken once.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from rheostat.engines.base import Request
from rheostat.errors import UserError, WorkloadError
from rheostat.workloads.parts import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "gym:"
SIZE = 100
SEED = 500000
"""Calibration begins at 100000."""
TRIES = 50
"""Items looked at for each that is wanted, before a task counts as exhausted."""
RIGHT = 0.99
"""Least score of a right answer: lower ones are credit for its form."""


class GymTasks(NamedTuple):
    """Questions of a generator with its own judge."""

    items: tuple[Request, ...]
    right: Callable[[str, str], bool]
    """Called with (id, answer)."""


def gym_tasks(text: str) -> GymTasks:
    """Generate the tasks of a `gym:` name; fewer than asked where the generator has no more.

    Raises:
        WorkloadError: no such generator, or a setting that it does not take.
        UserError: reasoning-gym is missing.
    """
    name, _, query = text.removeprefix(PREFIX).partition("?")
    known = _generators()
    if name not in known:
        raise WorkloadError(
            f"reasoning-gym has no task `{name}`",
            hint="for example `gym:products?min_terms=2&max_terms=2&max_digits=1`",
        )
    config = known[name][1]
    settings = _settings(name, query, {field.name: field for field in dataclasses.fields(config)})
    size, seed = (_count(name, settings, key) for key in ("size", "seed"))
    made = _created(name, settings, seed, size * TRIES)
    entries: dict[str, Any] = {}
    texts: set[str] = set()
    for at in range(size * TRIES):
        entry = made[at]
        folded = normalised(entry["question"])
        if folded not in texts:
            texts.add(folded)
            entries[f"{name}-{seed + at}"] = entry
        if len(entries) == size:
            break
    items = [_request(key, entry) for key, entry in entries.items()]

    def right(question: str, answer: str) -> bool:
        return bool(made.score_answer(answer, entries[question]) >= RIGHT)

    return GymTasks(tuple(items), right)


def _request(name: str, entry: Mapping[str, Any]) -> Request:
    message = {"role": "user", "content": str(entry["question"])}
    answer = entry["answer"]
    return Request(id=name, messages=(message,), reference=None if answer is None else str(answer))


def _created(name: str, settings: Mapping[str, Any], seed: int, size: int) -> Any:
    import reasoning_gym

    try:
        return reasoning_gym.create_dataset(name, seed=seed, size=size, **settings)
    except (AssertionError, ValueError, TypeError) as error:
        raise WorkloadError(
            f"reasoning-gym refuses the settings of `{name}`: {error or 'they contradict'}",
            hint="settings come in pairs, such as `min_terms` and `max_terms`",
        ) from error


def _settings(name: str, query: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"size": SIZE, "seed": SEED}
    for part in filter(None, query.split("&")):
        key, equals, value = (unquote(piece) for piece in part.partition("="))
        if not equals or key not in fields:
            takes = ", ".join(sorted(fields))
            raise WorkloadError(
                f"the task `{name}` has no setting `{key}`", hint=f"it takes {takes}"
            )
        listed = str(fields[key].type).lower().startswith(("list", "tuple", "typing.list"))
        settings[key] = [_value(one) for one in value.split(",")] if listed else _value(value)
    return settings


def _value(text: str) -> Any:
    lowered = {"True": "true", "False": "false", "None": "null"}.get(text, text)
    try:
        return json.loads(lowered)
    except ValueError:
        return text


def _count(name: str, settings: dict[str, Any], key: str) -> int:
    value = settings.pop(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < (key == "size"):
        raise WorkloadError(f"`{key}` of the task `{name}` must be a whole number, got `{value}`")
    return value


def _generators() -> Mapping[str, Any]:
    try:
        from reasoning_gym.factory import DATASETS
    except ModuleNotFoundError as error:
        raise UserError(
            "tasks that begin with `gym:` need the package `reasoning-gym`, which is not installed",
            hint='pip install "rheostat[tasks]"',
        ) from error
    found: Mapping[str, Any] = DATASETS
    return found
