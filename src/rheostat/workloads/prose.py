"""`prose`: running text of Python's documentation for next-token loss; raw prompts, no reference.

Its paragraphs are in no item of `edit` or `summarise`.
"""

from __future__ import annotations

from rheostat.engines.base import Request
from rheostat.workloads.parts import Item, item_id
from rheostat.workloads.passages import passages


def items(seed: int) -> list[Item]:
    """Return one item a document; nothing is drawn, so that the seed does not change it."""
    return [
        Item(key=text, request=Request(id=item_id("prose", text), prompt=text))
        for text in passages()["prose"]
    ]
