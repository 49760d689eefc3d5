"""Suite `cache`: what stays in the KV cache, method against method at equal bytes.

A long prompt is read whole, once; at its end every method lets go of what does not fit its share,
and the text goes on. Shares are of the bytes of the whole cache at that point, what a method
stores beside its entries included. Two kinds of text: documents that are read on, whose excess nats
count, and people's numbers in a long text, one of which is asked for at the end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.cache_forms import form_verdicts, measured_forms
from rheostat.bench.cache_presses import measured_presses
from rheostat.bench.cache_reading import bytes_a_token, readings
from rheostat.bench.cache_speed import fork_seconds, step_seconds
from rheostat.bench.cache_texts import long_texts, needles
from rheostat.bench.kvpress_peer import kvpress_of
from rheostat.bench.result import envelope
from rheostat.engines.torch_load import load_torch
from rheostat.methods.cache.ems import Ems
from rheostat.methods.cache.random_keep import RandomKeep
from rheostat.methods.cache.sink_window import SinkWindow
from rheostat.methods.cache.snapkv import SnapKv
from rheostat.stages.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.bench.kvpress_peer import KvPress
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.kv_cache import Eviction
    from rheostat.kernel.model_cost import ModelShape

SEED = 500000
SHARES = (0.5, 0.25, 0.125)
TEXTS, TEXT_TOKENS, AFTER = 6, 1536, 128
NEEDLES, NEEDLE_TOKENS = 8, 1536
CONTEXT, ROWS, STEPS = 4096, 8, 8
FORKED, FORKS = 1000, 200
FORM_TEXTS, FORM_TOKENS, FORM_AFTER = 4, 512, 64
_KINDS = (SinkWindow, SnapKv, Ems, RandomKeep)


def bench_cache(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Read on and ask under every share; time steps and forks."""
    result = envelope("cache", "which entries of the KV cache can this model spare?", seed=SEED)
    engine = load_torch("smollm2", progress=say)
    with kvpress_of("smollm2", say) as peer:
        return result | measured_cache(engine, say, journal, peer)


def measured_cache(
    engine: TorchEngine,
    say: Callable[[str], None],
    journal: Journal,
    peer: KvPress | None = None,
) -> dict[str, Any]:
    """Return the quality of every method at every share, the speed, and the verdicts."""
    texts = [
        *long_texts(engine, TEXTS, TEXT_TOKENS, AFTER, SEED),
        *needles(engine, NEEDLES, NEEDLE_TOKENS, SEED),
    ]
    read: dict[str, Any] = {}
    for i, text in enumerate(texts):
        say(f"reading {text.name} ({i + 1} of {len(texts)})")
        who = contestants(engine.shape, len(text.prompt), draw=i)
        found = journal.part(text.name, partial(readings, engine, text, who, Ems.every))
        read[text.name] = {
            name: dict(zip(("nats", "first_nats", "right", "bytes"), one, strict=True))
            for name, one in found.items()
        }
    kept = {f"{share:g}": partial(_entries, engine.shape, share) for share in SHARES}
    cells = [_cell(read, share, name) for share in SHARES for name in names()]
    say(f"timing {ROWS} rows after {CONTEXT} tokens")
    short = long_texts(engine, FORM_TEXTS, FORM_TOKENS, FORM_AFTER, SEED + 1)
    quarter = _at_share(Ems, 0.25, engine.shape, CONTEXT)
    speed = partial(step_seconds, engine, quarter, context=CONTEXT, rows=ROWS, steps=STEPS)
    steps = journal.part("steps", speed)
    fork = journal.part("fork", partial(fork_seconds, engine, FORKED, FORKS))
    forms = measured_forms(engine, short, say, journal)
    return {
        "texts": TEXTS,
        "text_tokens": TEXT_TOKENS,
        "continuation_tokens": AFTER,
        "needles": NEEDLES,
        "needle_tokens": NEEDLE_TOKENS,
        "base": _summary(read, "base"),
        "cells": cells,
        "steps": steps,
        "fork": fork,
        "forms": forms,
        "kvpress": measured_presses(peer, texts, kept, Ems.every, say, journal),
        "verdicts": verdicts(cells) | form_verdicts(forms),
    }


def _entries(shape: ModelShape, share: float, tokens: int) -> int:
    """Return how many of a prompt's entries fit a share where nothing is stored beside them."""
    return _at_share(SinkWindow, share, shape, tokens).entries(tokens)


def names() -> list[str]:
    """Return the methods in the order of the table."""
    return [kind.card.name for kind in _KINDS]


def contestants(shape: ModelShape, tokens: int, *, draw: int) -> dict[str, Eviction]:
    """Return every method at every share, each with as many bytes as the share allows."""
    return {
        f"{kind.card.name} {share:g}": _at_share(kind, share, shape, tokens, draw=draw)
        for share in SHARES
        for kind in _KINDS
    }


def _at_share(
    kind: type[Any], share: float, shape: ModelShape, tokens: int, *, draw: int = 0
) -> Eviction:
    """Return a method whose cache takes a share of the bytes of the whole one before a border."""
    method = kind(draw=draw) if kind is RandomKeep else kind()
    entry = bytes_a_token(shape) / shape.layers
    beside, own = 0.0, entry
    if "signal.attention" in method.card.needs:  # the newest tokens' queries are kept
        beside = method.every * shape.heads * shape.head_size * 4
    if kind is Ems:  # what an entry's count adds to its scores, and the attention it received
        own += shape.kv_heads * 3 * 4
    if kind is RandomKeep:  # the tokens that entries are of
        own += shape.kv_heads * 8
    full = tokens + method.every
    held = (share * full * entry - beside) / own
    plan = method.at(min(max(1 - held / full, 1e-9), 1.0), {}, shape)
    eviction: Eviction = plan.eviction
    return eviction


def _cell(read: Mapping[str, Any], share: float, name: str) -> dict[str, Any]:
    return {"share": share, "method": name} | _summary(read, f"{name} {share:g}")


def _summary(read: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a contestant's excess loss on texts that are read on, and its right answers."""
    texts = [r for text, r in read.items() if not text.startswith("needle")]
    asked = [r for text, r in read.items() if text.startswith("needle")]
    excess = [r[name]["nats"] - r["base"]["nats"] for r in texts]
    shares = [r[name]["bytes"] / r["base"]["bytes"] for r in read.values()]
    return {
        "nats": float(np.mean([r[name]["nats"] for r in texts])),
        "excess_nats": float(np.mean(excess)),
        "excess_interval": list(mean_interval(excess)),
        "first_nats": float(np.mean([r[name]["first_nats"] for r in texts])),
        "first_excess_nats": float(
            np.mean([r[name]["first_nats"] - r["base"]["first_nats"] for r in texts])
        ),
        "found": sum(r[name]["right"] for r in asked),
        "asked": len(asked),
        "answer_nats": float(np.mean([r[name]["nats"] for r in asked])),
        "byte_share": float(np.mean(shares)),
    }


def verdicts(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A method holds where it loses less than the random control and, unless it is that, than the
    static window, at every share, and finds at least as many numbers."""
    made = {}
    for name in names():
        controls = {"random_keep", "sink_window"} - {name}
        if name == "random_keep":
            continue
        wins = sum(_beats(cells, share, name, controls) for share in SHARES)
        made[name] = {
            "beats_controls": wins == len(SHARES),
            "evidence": f"lower loss than {' and '.join(sorted(controls))}, and no fewer numbers "
            f"found, in {wins} of {len(SHARES)} shares of equal bytes",
        }
    return made


def _beats(cells: Sequence[Mapping[str, Any]], share: float, name: str, controls: set[str]) -> bool:
    at = {cell["method"]: cell for cell in cells if cell["share"] == share}
    own = at[name]
    return all(
        own["excess_nats"] < at[other]["excess_nats"] and own["found"] >= at[other]["found"]
        for other in controls
    )
