"""Suite `decoys`: what drafts cost at most, on text that invites matches and breaks them.

Two adversaries, each against the base on the same items in turn. A *source* that knows the base's
answer: at every token it claims its most trusted kind of match and drafts at full length, and what
it drafts is wrong at once, or after tokens that are right; it is as bad as any text can be to a
source of copies, at a token of its choice. And a *text*: a question, and before it a page that
repeats pieces of the model's own answer with other words after them, under all real sources.
"""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from rheostat.bench.contest import answered, contested, decision_of
from rheostat.bench.decode import FORMATS, sources
from rheostat.bench.result import envelope
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.seams import Guess, Installed
from rheostat.stages.report_summary import bootstrap_ratio
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.base import Request
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.seams import DraftStart

SEED = 500000
WORKLOAD = "chat"
ITEMS = 4
ROUNDS = 3
"""Times that everyone answers an item."""
NEW_TOKENS = 128
CAP = 24
"""Longest draft: that of the real sources."""
RIGHT = (0, 1, 4)
"""Tokens of a draft that are right before the first wrong one."""
PIECES = 16
"""Of an answer, in a text of decoys."""
PIECE = 4
"""Words of a piece; the word after them is another one."""
LIMIT = 0.03


def bench_decoys(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Measure every format."""
    result = envelope("decoys", "what do drafts cost where every match misleads?", seed=SEED)
    cells: list[dict[str, Any]] = []
    for dtype in FORMATS:
        engine = load_torch("smollm2", dtype=dtype, threads=1, progress=say)
        cells += decoy_cells(engine, ITEMS, say, journal)
        del engine
        gc.collect()
    torch.set_num_threads(machine().cores)
    worst = min(cell["speed_ratio"] for cell in cells)
    return result | {
        "new_tokens": NEW_TOKENS,
        "threads": 1,
        "limit": LIMIT,
        "cells": cells,
        "worst": worst,
        "holds": 1 / worst - 1 < LIMIT,
    }


def decoy_cells(
    engine: TorchEngine, limit: int, say: Callable[[str], None], journal: Journal
) -> list[dict[str, Any]]:
    """Let the base, the adversary's sources and the real ones answer; one cell each against it."""
    items = load_workload(WORKLOAD, part="test", limit=limit, seed=SEED).items
    found = [
        journal.part(f"{engine.dtype}, {item.id}", partial(_rounds, engine, item, i, say))
        for i, item in enumerate(items)
    ]
    return [
        {"dtype": engine.dtype, **_against([rounds for one in found for rounds in one[kind]], name)}
        for kind in ("sources", "text")
        for name in found[0][kind][0]
        if name != "base"
    ]


def _rounds(
    engine: TorchEngine, item: Request, first: int, say: Callable[[str], None]
) -> dict[str, Any]:
    say(f"{engine.dtype}: item {first + 1}")
    base = answered(engine, item, decision_of(engine), NEW_TOKENS)
    adversaries = {
        _named(right): Installed(draft=adversary(base.token_ids, right)) for right in RIGHT
    }
    text = decoyed(item, base.text, seed=first)
    every = {"base": decision_of(engine)}
    real = every | {"text, all sources": decision_of(engine, *sources().values())}

    def turns(asked: Request, decisions: Mapping[str, Installed]) -> list[dict[str, Any]]:
        return [
            contested(engine, asked, decisions, first=first + i, new_tokens=NEW_TOKENS)
            for i in range(ROUNDS)
        ]

    return {"sources": turns(item, every | adversaries), "text": turns(text, real)}


def _named(right: int) -> str:
    return f"source, wrong after {right}"


def adversary(answer: Sequence[int], right: int) -> Controlled:
    """Return a controller over a source that misleads about this answer.

    Args:
        answer: token ids of the base's answer.
        right: tokens of each draft that are right before the first wrong one.
    """
    return Controlled(sources=((Misleading(tuple(answer), right), CAP),))


@final
@dataclass(frozen=True)
class Misleading:
    """A `DraftSource` that knows what comes, and says otherwise."""

    answer: Sequence[int]
    right: int
    priors = ((0.9, 0.95),)
    """Those of the longest matches of `copyspec`."""

    def start(self, start: DraftStart) -> int:
        """Return how much is written: nothing."""
        return 0

    def guess(self, state: int, longest: int) -> Guess | None:
        """Say what comes, then what does not."""
        coming = self.answer[state : state + longest]
        tokens = [token if i < self.right else _other(token) for i, token in enumerate(coming)]
        return Guess(tokens, 0) if tokens else None

    def commit(self, state: int, tokens: Sequence[int]) -> int:
        """Count what was written."""
        return state + len(tokens)


def _other(token: int) -> int:
    """Return another token id of any vocabulary that has this one, for an even number of ids."""
    return token ^ 1


def decoyed(item: Request, answer: str, *, seed: int) -> Request:
    """Return the item behind a page of pieces of the answer, each followed by a word of elsewhere.

    Args:
        item: a prompt, or messages of which the last one asks.
        answer: what the model answers to it without the page.
        seed: of the pieces and the words.
    """
    words = answer.split()
    rng = random.Random(seed)
    starts = range(max(len(words) - PIECE, 1))
    chosen = sorted(rng.sample(starts, min(PIECES, len(starts))))
    page = " ".join(" ".join([*words[at : at + PIECE], rng.choice(words) + "."]) for at in chosen)
    if not item.messages:
        return replace(item, prompt=f"{page}\n\n{item.prompt}")
    *before, asked = item.messages
    told = dict(asked) | {"content": f"{page}\n\n{asked['content']}"}
    return replace(item, messages=(*before, told))


def _against(rounds: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Compare with the base, over all items and rounds."""
    slow, fast = (np.array([r[n]["seconds"] for r in rounds]) for n in ("base", name))
    interval = bootstrap_ratio(slow, fast)

    def total(who: str, what: str) -> float:
        return float(sum(r[who][what] for r in rounds))

    return {
        "adversary": name,
        "answers": len(rounds),
        "speed_ratio": float(slow.sum() / fast.sum()),
        "speed_interval": None if interval is None else list(interval),
        "predicted_ratio": total("base", "price") / total(name, "price"),
        "drafted": total(name, "proposed"),
        "accepted": total(name, "accepted"),
        "tokens": total(name, "tokens"),
        "identical_answers": total(name, "same") / len(rounds),
    }
