"""Splits items into calibration and test by a hash of their text.

The part of an item depends on its own text alone: adding, dropping or moving lines never moves
another item, and two items of the same normalised text always fall in the same part.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from rheostat.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rheostat.engines.base import Request

Part = Literal["calibration", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A request, and the text that it was made from."""

    key: str
    """Decides the part and what is a duplicate; the same for every seed."""
    request: Request


def from_request(request: Request) -> Item:
    """Return an item whose key is the text that the user wrote, whatever the roles."""
    contents = [message["content"] for message in request.messages]
    return Item(key=request.prompt or "\n".join(contents), request=request)


def normalised(text: str) -> str:
    """Return the text with case, white space and Unicode form folded."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def text_hash(text: str) -> bytes:
    """Return the SHA-256 of the normalised text."""
    return hashlib.sha256(normalised(text).encode("utf-8")).digest()


def item_id(name: str, text: str) -> str:
    """Return the id of a built-in item: it stays when items are added around it."""
    return f"{name}-{text_hash(text).hex()[:8]}"


def part_of(text: str) -> Literal["calibration", "test"]:
    """Return the part that holds this text, either with probability one half."""
    return "calibration" if text_hash(text)[-1] % 2 else "test"


def distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the first item of each normalised text, in order."""
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(normalised(item.key), item)
    return tuple(first.values())


def choose(items: Sequence[Item], part: Part, *, subject: str) -> tuple[Item, ...]:
    """Return the items of a part; refuse a source that leaves either part empty."""
    if part not in get_args(Part):
        raise WorkloadError(
            f"`{part}` is not a part of a workload", hint="use calibration, test or all"
        )
    if part == "all":
        return tuple(items)
    placed = [(part_of(item.key), item) for item in items]
    chosen = tuple(item for place, item in placed if place == part)
    if not 0 < len(chosen) < len(items):
        found = "1 distinct item" if len(items) == 1 else f"{len(items)} distinct items"
        raise WorkloadError(
            f"`{subject}` has too few items for a calibration and a test part: {found}, "
            f"all in the {placed[0][0]} part",
            hint="add lines with other texts: each falls in either part by a hash of its text",
        )
    return chosen
