"""Long texts for the cache suite: what is read, and what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rheostat.engines.base import Request
from rheostat.stages.losses import beginning
from rheostat.workloads.load import load_workload
from rheostat.workloads.stdlib import source_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rheostat.engines.torch_engine import TorchEngine

MODULES = (
    "argparse.py",
    "tarfile.py",
    "typing.py",
    "inspect.py",
    "subprocess.py",
    "tempfile.py",
    "threading.py",
    "optparse.py",
)
_PEOPLE = ("Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Hugo")


class Long(NamedTuple):
    """A text that is read, and what comes behind it."""

    name: str
    prompt: list[int]
    continuation: list[int]


def long_texts(engine: TorchEngine, count: int, prompt: int, after: int, seed: int) -> list[Long]:
    """Return texts to be read on: documentation and source code in turn."""
    made = []
    prose, code = _prose(seed), _code()
    for i in range(count):
        kind, texts = ("prose", prose) if i % 2 == 0 else ("code", code)
        text = ""
        while len(tokens := _tokens(engine, text)) < prompt + after:
            text += next(texts)
        made.append(Long(f"{kind} {i}", tokens[:prompt], tokens[prompt : prompt + after]))
    return made


def needles(engine: TorchEngine, count: int, prompt: int, seed: int) -> list[Long]:
    """Return texts in which some people's numbers are told, and asked for one of them at the end.

    One number for every eighth of the text; the question goes through the eighths.
    """
    made, prose = [], _prose(seed + 1)
    for i in range(count):
        draw = np.random.default_rng([seed, i])
        numbers = draw.choice(np.arange(1000, 10000), len(_PEOPLE), replace=False)
        facts = [
            f"\n\nThe secret number of {person} is {number}.\n\n"
            for person, number in zip(_PEOPLE, numbers, strict=True)
        ]
        asked = i % len(_PEOPLE)
        question = engine.encode(_raw(f"\n\nThe secret number of {_PEOPLE[asked]} is"))
        told = [engine.encode(_raw(fact)) for fact in facts]
        room = prompt - len(question) - sum(map(len, told))
        filler = ""
        while len(tokens := _tokens(engine, filler)) < room:
            filler += next(prose)
        parts: list[int] = []
        size = room // len(_PEOPLE)
        for place, fact in enumerate(told):
            parts += [*tokens[place * size : (place + 1) * size], *fact]
        answer = engine.encode(_raw(f" {numbers[asked]}"))
        made.append(Long(f"needle {i}", [*parts, *question], answer))
    return made


def _prose(seed: int) -> Iterator[str]:
    items = load_workload("prose", part="test", seed=seed).items
    while True:
        yield from (f"{item.prompt}\n\n" for item in items)


def _code() -> Iterator[str]:
    for file in source_files(MODULES):
        lines = file.lines[len(file.lines) // 4 :]  # behind the head of the file
        yield "\n".join(lines[:900])


def _tokens(engine: TorchEngine, text: str) -> list[int]:
    return beginning(engine, _raw(text)) if text else []


def _raw(text: str) -> Request:
    return Request(id="", prompt=text)
