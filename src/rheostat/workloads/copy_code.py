"""`copy`: write a function of the standard library again with one variable renamed."""

from __future__ import annotations

import random
import re

from rheostat.engines.base import Request
from rheostat.workloads.parts import Item, item_id
from rheostat.workloads.rename import renamable, renamed
from rheostat.workloads.snippets import snippets

NEW_NAMES = (
    "amount", "argument", "chosen", "content", "current", "element", "entry", "handle", "holder",
    "incoming", "known", "material", "object_", "outcome", "payload", "piece", "record", "sample",
    "source_value", "subject", "thing", "working",
)  # fmt: skip


def items(seed: int) -> list[Item]:
    """Return one item a snippet that has a name to change; the seed draws the two names."""
    found = (_item(code, seed) for code in snippets())
    return [item for item in found if item is not None]


def request_text(code: str, old: str, new: str) -> str:
    """Return the request for a snippet, said before and behind it as in `edit`."""
    return (
        f"Copy this code with `{old}` renamed to `{new}`:\n\n```python\n{code}\n```\n\n"
        f"Answer with the whole code only, with `{old}` renamed to `{new}`."
    )


def _item(code: str, seed: int) -> Item | None:
    generator = random.Random(f"copy {seed} {code}")
    names = renamable(code)
    if not names:
        return None
    words = set(re.findall(r"\w+", code))
    old = generator.choice(names)
    new = generator.choice([name for name in NEW_NAMES if name not in words])
    message = {"role": "user", "content": request_text(code, old, new)}
    request = Request(
        id=item_id("copy", code), messages=(message,), reference=renamed(code, old, new)
    )
    return Item(key=code, request=request)
