"""Marks of items, by which data that were used before are known again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.errors import WorkloadError
from rheostat.workloads.parts import from_request, text_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rheostat.engines.base import Request
    from rheostat.workloads.load import Workload

DIGITS = 12


def marks(workload: Workload) -> list[str]:
    """Return a mark an item: a digest of its normalised text.

    An item of a built-in workload is known by its id, which names the text that it was made from:
    other typing errors in the same sentence, under another seed, are no new item.
    """
    return [mark(workload.kind != "file", item) for item in workload.items]


def mark(built_in: bool, item: Request) -> str:
    """Return the mark of one item."""
    return text_hash(item.id if built_in else from_request(item).key).hex()[:DIGITS]


def refuse_overlap(new: Iterable[str], used: Iterable[str], *, subject: str, what: str) -> None:
    """Raise `WorkloadError` when items were used before.

    Args:
        new: marks of the items of `subject`.
        used: marks of earlier items.
        subject: the workload's name.
        what: what the earlier items were used for, such as `the search of this plan`.
    """
    items, before = set(new), set(used)
    both = items & before
    if both:
        raise WorkloadError(
            f"{len(both)} of the {len(items)} items of `{subject}` were used in {what}",
            hint="give items of other texts: what a plan was made from says nothing new of it",
        )
