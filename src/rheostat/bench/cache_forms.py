"""Entries in another form: block floating point at equal bits, and rebuilding, for the cache suite.

Block floating point is read on with and without the channels of the keys in order, and beside it
plain integers with a shared scale, all at equal bits; the error of the keys is that of the coded
ones in all layers. Rebuilding has to give the tokens of
the whole cache; what it takes is told beside what the shape says that one vector a token would.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rheostat.bench.cache_reading import bytes_a_token
from rheostat.bench.plain_blocks import PlainBlocks
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.model_cost import Work
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.kernel.trace import Trace
from rheostat.methods.cache.bfp import Bfp
from rheostat.methods.cache.kv_direct import KvDirect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.cache_texts import Long
    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.kv_cache import Coder

CODES = ((8, 32), (4, 32), (4, 16))
"""Bits of a key's mantissa, and channels that share an exponent."""
CODINGS = ("plain integers", "as they are", "in order")
"""Plain integers of as many bits, and block floating point without and with the channels' order."""
TURNS = 96
"""Tokens that are written over rebuilt keys and values."""
EVERY = 32
"""Of these, tokens between two borders: some of them are rebuilt, too."""


def measured_forms(
    engine: TorchEngine, texts: Sequence[Long], say: Callable[[str], None], journal: Journal
) -> dict[str, Any]:
    """Return the cells of both forms; the texts are few and short beside those of the suite."""
    base = [
        journal.part(f"whole {text.name}", partial(_nats, engine, text, Installed()))
        for text in texts
    ]
    cells = []
    for bits, block in CODES:
        for coding in CODINGS:
            say(f"reading on with keys of {bits} bits, blocks of {block}, {coding}")
            coder = _coder(engine, bits, block, coding)
            measure = partial(_coded, engine, texts, coder, base)
            told = {"bits_a_key": bits + 8 / block, "block": block, "coding": coding}
            cells.append(told | journal.part(f"keys {bits} {block} {coding}", measure))
    say("rebuilding keys and values")
    return {
        "texts": len(texts),
        "bfp": cells,
        "kv_direct": journal.part("kv_direct", partial(_rebuilt, engine, texts[0])),
    }


def form_verdicts(forms: Mapping[str, Any]) -> dict[str, Any]:
    """Judge both forms.

    Block floating point holds where ordered keys are nearer than those of plain integers of as many
    bits, and than keys as they are, in every code, and lose less in those of four bits. Rebuilding
    holds where it gives the whole cache's tokens and takes fewer bytes.
    """
    near = [_ordered_wins(forms["bfp"], bits, block, "key_error") for bits, block in CODES]
    few = [code for code in CODES if code[0] == 4]
    lose = [_ordered_wins(forms["bfp"], bits, block, "excess_nats") for bits, block in few]
    rebuilt = forms["kv_direct"]
    share = rebuilt["bytes"] / rebuilt["whole_bytes"]
    same = "the whole cache's tokens" if rebuilt["identical"] else "other tokens"
    return {
        "bfp": {
            "beats_controls": all(near) and all(lose),
            "evidence": "against plain integers of as many bits and keys as they are: smaller "
            f"error of the keys in {sum(near)} of {len(near)} codes, lower loss in {sum(lose)} of "
            f"{len(lose)} codes of four bits",
        },
        "kv_direct": {
            "beats_controls": bool(rebuilt["identical"] and share < 1),
            "evidence": f"{same} in {share:.2f} times the bytes of the whole cache",
        },
    }


def _ordered_wins(cells: Sequence[Mapping[str, Any]], bits: int, block: int, what: str) -> bool:
    at = {
        cell["coding"]: cell[what]
        for cell in cells
        if (cell["bits_a_key"], cell["block"]) == (bits + 8 / block, block)
    }
    own = at.pop("in order")
    return all(own < other for other in at.values())


def _coder(engine: TorchEngine, bits: int, block: int, coding: str) -> Coder:
    method = Bfp(block=block, rearrange=coding == "in order")
    if coding == "plain integers":
        return PlainBlocks(
            key_bits=bits,
            value_bits=method.value_bits,
            block=2 * block,  # a scale of 16 bits for an exponent of 8
            recent=method.recent,
            every=method.every,
        )
    plan = method.at(0.5 if bits == 8 else 1.0, {}, engine.shape)
    assert plan is not None
    assert plan.coder is not None
    return plan.coder


def _nats(engine: TorchEngine, text: Long, installed: Installed) -> tuple[float, int]:
    scored = engine.score(text.prompt, text.continuation, installed=installed)
    return float(scored.nats.mean()), scored.trace.cache_bytes


def _coded(
    engine: TorchEngine, texts: Sequence[Long], coder: Coder, base: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    installed = Installed(cache=CachePlan(coder=coder))
    found = [_nats(engine, text, installed) for text in texts]
    tokens = [len(text.prompt) + len(text.continuation) - 1 for text in texts]
    whole = bytes_a_token(engine.shape)
    return {
        "excess_nats": float(np.mean([f[0] - b[0] for f, b in zip(found, base, strict=True)])),
        "key_error": _key_error(engine, texts[0], coder),
        "byte_share": sum(size for _, size in found) / (whole * sum(tokens)),
    }


def _key_error(engine: TorchEngine, text: Long, coder: Coder) -> float:
    """Return the length of the error of a text's keys over that of the keys, in all layers."""
    cache = _read(engine, empty_cache_of(engine, len(text.prompt)), text.prompt)
    error = size = 0.0
    for slot in range(engine.shape.layers):
        entries = cache.held(slot, 0).float().permute(1, 2, 0, 3).contiguous().numpy()
        coded = coder.encode(entries[0], entries[1], None)
        keys, _ = coder.decode(coded.parts, coded.state)
        error += float(((keys - entries[0]) ** 2).sum())
        size += float((entries[0] ** 2).sum())
    return float(np.sqrt(error / size))


def empty_cache_of(engine: TorchEngine, tokens: int) -> RowCache:
    """Return a cache of the whole model."""
    return empty_cache(engine.llama, Layout.full(engine.shape.layers), capacity=tokens)


def _read(engine: TorchEngine, cache: RowCache, tokens: Sequence[int]) -> RowCache:
    depth = Depth(Layout.full(engine.shape.layers))
    engine.llama.forward([Feed(cache, tokens, 0)], depth, logit_rows=[])
    return cache


def _rebuilt(engine: TorchEngine, text: Long) -> dict[str, Any]:
    """Write on with the whole cache and with one whose older part is rebuilt at every step.

    A third cache lets nothing go, and is rebuilt once at the end: that shows what rebuilding alone
    changes, where the two runs may have drifted apart before.
    """
    shape, prompt = engine.shape, text.prompt
    plan = KvDirect(every=EVERY).at(1.0, {}, shape)
    assert plan is not None
    made = Compaction(engine.llama, engine.prices(), None, None, plan.checkpoints)
    whole = empty_cache_of(engine, len(prompt) + TURNS)
    layout = Layout.full(shape.layers)
    part, kept = (made.cache(layout, prompt=len(prompt), capacity=0) for _ in range(2))
    tokens: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    for name, cache in (("whole", whole), ("rebuilt", part)):
        _read(engine, cache, prompt[:-1])
        compaction = made if cache is part else None
        tokens[name], seconds[name] = _written(engine, compaction, cache, prompt[-1])
    _read(engine, kept, prompt[:-1])
    _written(engine, None, kept, prompt[-1])
    entry = 2 * shape.kv_heads * shape.head_size
    return {
        "tokens": len(prompt),
        "written": TURNS,
        "identical": tokens["whole"] == tokens["rebuilt"],
        "difference_of_runs": _apart(part, whole, shape.layers),
        **_rebuilding(kept, shape.layers),
        "whole_bytes": bytes_a_token(shape) * whole.length,
        "bytes": part.bytes,
        "numbers_a_token_and_layer": {"keys and values": entry, "residual stream": shape.width},
        "one_vector_share": shape.width / (entry * shape.layers),
        "step_seconds": {name: spent / TURNS for name, spent in seconds.items()},
    }


def _apart(one: RowCache, other: RowCache, slots: int) -> float:
    """Return the largest difference of two caches' numbers."""
    return max(
        float((one.held(slot, 0) - other.held(slot, 0)).abs().max()) for slot in range(slots)
    )


def _rebuilding(kept: RowCache, slots: int) -> dict[str, float]:
    """Return how far what is rebuilt is from what a cache holds, and how large that is."""
    rebuild, residuals = kept.rebuild, kept.residuals
    assert rebuild is not None
    assert residuals is not None
    off = largest = 0.0
    for slot in range(slots):
        held = kept.held(slot, 0)
        rebuilt = rebuild(slot, residuals.first(slot, kept.length))
        off = max(off, float((rebuilt - held).abs().max()))
        largest = max(largest, float(held.abs().max()))
    return {"difference_of_rebuilding": off, "largest_number": largest}


def _written(
    engine: TorchEngine, made: Compaction | None, cache: RowCache, token: int
) -> tuple[list[int], float]:
    depth, written = Depth(Layout.full(engine.shape.layers)), []
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(TURNS):
            if made is not None:
                made.settle([cache], [Work()], [Trace()])
            feed = Feed(cache, [token], 0)
            passed = engine.llama.forward([feed], depth, logit_rows=None, choices=True)
            token = int(passed.logits[0])
            written.append(token)
    return written, time.perf_counter() - start
