"""Loads a workload: a built-in one by its name, or any `.jsonl` file by its path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from rheostat.errors import WorkloadError
from rheostat.workloads import chat, copy_code, edit, prose, summarise
from rheostat.workloads.items import load_requests, request_line
from rheostat.workloads.parts import Item, Part, choose, distinct, from_request, text_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.engines.base import Request

Kind = Literal["edit", "copy", "summarise", "chat", "prose", "file"]

BUILT_IN: Mapping[Kind, Callable[[int], list[Item]]] = MappingProxyType(
    {
        "edit": edit.items,
        "copy": copy_code.items,
        "summarise": summarise.items,
        "chat": chat.items,
        "prose": prose.items,
    }
)
"""Every built-in workload, and what makes its items from a seed."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests to measure on, no two of the same normalised text."""

    name: str
    """The name or path under which the user asked for it."""
    kind: Kind
    """How `score_text` scores it."""
    digest: str
    """SHA-256 over the canonical lines of `items`."""
    items: tuple[Request, ...]


def load_workload(
    name_or_path: str,
    *,
    part: Part = "all",
    limit: int | None = None,
    seed: int = 0,
    shuffled: bool = False,
) -> Workload:
    """Return the first `limit` items of a part of a workload.

    The seed draws the typing errors of `edit`, the names of `copy` and the order of the built-in
    items; a file keeps its own order, unless it is to be `shuffled`: then the order of its lines
    does not matter. An item is in the same part under every seed and limit.
    """
    if limit is not None and limit < 1:
        raise WorkloadError(
            f"the limit of a workload must be at least 1, got `{limit}`",
            hint="leave it out for all",
        )
    kind = _kind(name_or_path)
    if kind == "file":
        items = distinct(from_request(request) for request in load_requests(name_or_path))
        if shuffled:
            items = in_mixed_order(items, seed)
    else:
        items = in_mixed_order(distinct(BUILT_IN[kind](seed)), seed)
    chosen = choose(items, part, subject=name_or_path)[:limit]
    requests = tuple(item.request for item in chosen)
    return Workload(name=name_or_path, kind=kind, digest=digest_of(requests), items=requests)


def digest_of(requests: tuple[Request, ...]) -> str:
    """Return the SHA-256 over the canonical lines of requests, in hexadecimal digits."""
    lines = "".join(f"{request_line(request)}\n" for request in requests)
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()


def _kind(name_or_path: str) -> Kind:
    for kind in BUILT_IN:
        if name_or_path == kind:
            return kind
    if not name_or_path.endswith(".jsonl"):
        raise WorkloadError(
            f"`{name_or_path}` is not a workload",
            hint=f"use one of {', '.join(BUILT_IN)}, or a path that ends with .jsonl",
        )
    return "file"


def in_mixed_order(items: tuple[Item, ...], seed: int) -> tuple[Item, ...]:
    """Return the items in an order that mixes topics and stays when items are added."""
    return tuple(sorted(items, key=lambda item: text_hash(f"{seed} {item.key}")))
