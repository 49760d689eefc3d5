"""kvpress's own methods on the texts of the cache suite, at the bytes of ours.

A press keeps as many entries as fit a share just before the next border, so what is read on up to
that border is compared: there both hold equal bytes. Losses are over the package's own whole cache.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.kvpress_peer import VARIABLE
from rheostat.stages.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.cache_texts import Long
    from rheostat.bench.journal import Journal
    from rheostat.bench.kvpress_peer import KvPress


def measured_presses(  # noqa: PLR0913  # what is read under which shares, and where it is kept
    peer: KvPress | None,
    texts: Sequence[Long],
    kept: Mapping[str, Callable[[int], int]],
    every: int,
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    """Return a cell a press and share, or why there is none.

    Args:
        kept: by share, from a prompt's tokens to the entries that a press keeps.
        every: tokens up to the next border.
    """
    if peer is None:
        return {
            "compared": False,
            "reason": f"kvpress is not installed; {VARIABLE} names a Python that has it",
        }
    read: dict[str, Any] = {}
    for i, text in enumerate(texts):
        say(f"kvpress reads {text.name} ({i + 1} of {len(texts)})")
        short = text._replace(continuation=text.continuation[:every])
        sizes = {share: entries(len(text.prompt)) for share, entries in kept.items()}
        read[text.name] = journal.part(f"kvpress {text.name}", partial(peer.read, short, sizes))
    names = [name for name in next(iter(read.values())) if name != "base"]
    return {
        "compared": True,
        "versions": peer.versions._asdict(),
        "tokens": every,
        "base": press_cell(read, "base"),
        "cells": [
            {"share": float(share), "method": press} | press_cell(read, f"{press} {share}")
            for press, share in (name.rsplit(" ", 1) for name in names)
        ],
    }


def press_cell(read: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a press's excess loss on texts that are read on, and its right answers."""
    texts = [r for text, r in read.items() if not text.startswith("needle")]
    asked = [r for text, r in read.items() if text.startswith("needle")]
    excess = [r[name]["nats"] - r["base"]["nats"] for r in texts]
    return {
        "first_nats": float(np.mean([r[name]["nats"] for r in texts])),
        "first_excess_nats": float(np.mean(excess)),
        "excess_interval": list(mean_interval(excess)),
        "found": sum(r[name]["right"] for r in asked),
        "asked": len(asked),
        "answer_nats": float(np.mean([r[name]["nats"] for r in asked])),
        "byte_share": float(
            np.mean([r[name]["bytes"] / r["base"]["bytes"] for r in read.values()])
        ),
    }
