"""The longest text that a module of `transformers` reads as one piece.

A `longrope` rotation is another one for every token once a text is longer than the length that the
model was first trained on: keys that are held are then of the old one, and `transformers` reads
the text again. Nothing that is held can go on there, so the context ends at that length (ours),
and every token is rotated alike. A `dynamic` rotation changes behind `max_position_embeddings`,
where the context ends by itself.
"""

from __future__ import annotations

from typing import Any

CONTEXT = 2048
"""Longest sequence of a model whose configuration names none."""
LONG = ("longrope", "su")
"""Kinds of rotation that are another one behind a border; `su` is an older name."""
BORDER = "original_max_position_embeddings"


def context_of(config: Any) -> int:
    """Return the tokens that a text may have."""
    told = _told(config)
    border = rotation_border(config)
    return told if border is None else min(border, told)


def rotation_border(config: Any) -> int | None:
    """Return after how many tokens a text is rotated anew as a whole; None = after none."""
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(given, dict):
        return None
    kinds = [given, *(own for own in given.values() if isinstance(own, dict))]  # or one a layer
    borders = [
        kind.get(BORDER) or getattr(config, BORDER, None)
        for kind in kinds
        if kind.get("rope_type", kind.get("type")) in LONG
    ]
    return min((border for border in borders if type(border) is int), default=None)


def border_told(config: Any) -> str:
    """Return what is to be said of a context that ends before the configuration's; else nothing."""
    if context_of(config) == _told(config):
        return ""
    return (
        f"its rotation is another one behind {context_of(config)} tokens (longrope), so its "
        f"context ends there, not at {_told(config)}"
    )


def _told(config: Any) -> int:
    return int(getattr(config, "max_position_embeddings", None) or CONTEXT)
