"""BibTeX of the papers behind methods, from their cards: one entry a paper."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rheostat import catalog
from rheostat.errors import MethodError
from rheostat.stages.settings import read_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rheostat.kernel.method import Card

ARXIV = "arXiv:"
PASSED_OVER = {"a", "an", "the"}
"""Words of a title that no key begins with."""


class Cited(NamedTuple):
    """What is to be cited."""

    entries: tuple[str, ...]
    """BibTeX, an entry a paper."""
    without: tuple[str, ...]
    """Methods that come from no paper: our controls."""


def cited(named: Sequence[str]) -> Cited:
    """Return the entries of methods and of plans' files; of every method when none is named.

    Raises:
        MethodError: a name is of no method.
        PlanError: a file is no plan.
    """
    names = [name for given in named for name in _methods_of(given)] if named else _every()
    cards = [catalog.method(name).card for name in dict.fromkeys(names)]
    papers = {card.paper: card for card in cards if card.paper.startswith(ARXIV)}
    entries = tuple(entry(card) for card in papers.values())
    return Cited(entries, tuple(card.name for card in cards if not card.paper.startswith(ARXIV)))


def entry(card: Card) -> str:
    """Return the BibTeX entry of a card's paper."""
    told = _told(card)
    number = card.paper.removeprefix(ARXIV)
    year = 2000 + int(number[:2])
    fields = {
        "title": f"{{{told.paper_title}}}",
        "author": " and ".join(told.authors.split(", ")),
        "year": str(year),
        "eprint": number,
        "archivePrefix": "arXiv",
        "url": f"https://arxiv.org/abs/{number}",
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{_key(told, year)},\n{lines}}}"


def _methods_of(given: str) -> Iterable[str]:
    if given.endswith(".json"):
        return [setting.name for setting in read_plan(Path(given)).methods]
    return [given]


def _every() -> list[str]:
    return [name for name, method in catalog.methods().items() if not method.card.control]


def _told(card: Card) -> Card:
    """Return the card that names the paper's title and authors: this one or one of its paper."""
    others = (method.card for method in catalog.methods().values())
    same = (other for other in (card, *others) if other.paper == card.paper)
    told = next((other for other in same if other.paper_title and other.authors), None)
    if told is None:
        raise MethodError(
            f"no card names title and authors of `{card.paper}`",
            hint=f"add `paper_title` and `authors` to the card of `{card.name}`",
        )
    return told


def _key(card: Card, year: int) -> str:
    surname = _plain(card.authors.split(", ")[0].split()[-1])
    words = (_plain(word) for word in re.split(r"[\s-]+", card.paper_title))
    return f"{surname}{year}{next(word for word in words if word and word not in PASSED_OVER)}"


def _plain(text: str) -> str:
    """Return the letters and digits of a text, lower case and without accents."""
    parts = unicodedata.normalize("NFKD", text.split("'")[0])
    return "".join(c for c in parts if c.isascii() and c.isalnum()).lower()
