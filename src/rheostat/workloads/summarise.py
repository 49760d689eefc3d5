"""`summarise`: say in two sentences what a passage of Python's documentation says; no reference."""

from __future__ import annotations

from rheostat.engines.base import Request
from rheostat.workloads.parts import Item, item_id
from rheostat.workloads.passages import passages


def items(seed: int) -> list[Item]:
    """Return one item a passage; nothing is drawn, so that the seed does not change it."""
    return [_item(passage) for passage in passages()["summarise"]]


def _item(passage: str) -> Item:
    text = f"Summarise this text in two sentences:\n\n{passage}"
    message = {"role": "user", "content": text}
    return Item(key=passage, request=Request(id=item_id("summarise", passage), messages=(message,)))
