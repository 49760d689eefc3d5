"""A conversation's keys and values in a file while it is idle: bit for bit what they were (ours).

The file holds the tokens, too, and what they were computed with, so that it is never read as the
cache of another text, model or number format.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rheostat.engines.cache_folder import whole_file
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.seams import Layout

_KV, _MARK = "keys_and_values", "mark"
_ROOM = 64
"""Tokens that a cache has room for when it is read again."""


@final
@dataclass(frozen=True)
class Offloaded:
    """Where a cache lies, and what it has to be of."""

    path: Path
    mark: str
    tokens: int


@torch.inference_mode()
def offloaded(
    path: Path, engine: TorchEngine, cache: RowCache, ids: Sequence[int], layout: Layout
) -> Offloaded:
    """Write a cache of these tokens and return where it lies.

    Raises:
        OutputError: the file cannot be written.
    """
    n = cache.length
    buffer = cache.copied(room=0).whole()
    assert buffer is not None
    mark = _mark(engine, ids[:n], layout)
    with whole_file(path) as partial:
        save_file({_KV: buffer[:, :n].contiguous()}, partial, metadata={_MARK: mark})
    return Offloaded(path, mark, n)


@torch.inference_mode()
def brought_back(held: Offloaded, engine: TorchEngine, layout: Layout) -> RowCache:
    """Return the cache that a file holds.

    Raises:
        ModelError: it is gone, damaged or another one's.
    """
    cache = empty_cache(engine.decoder, layout, capacity=held.tokens + _ROOM)
    try:
        with safe_open(held.path, framework="pt") as file:
            same = (file.metadata() or {}).get(_MARK) == held.mark
            stored = file.get_tensor(_KV) if same else None
    except (OSError, SafetensorError) as error:
        raise _unusable(held.path, f"cannot be read: {error}") from error
    if stored is None:
        raise _unusable(held.path, "is of another conversation")
    for slot, kept in enumerate(stored):
        cache.put(slot, kept)
    cache.advance(held.tokens)
    return cache


def _unusable(path: Path, why: str) -> ModelError:
    return ModelError(
        f"the offloaded conversation `{path}` {why}",
        hint="begin a new Session; a kept file must stay where it is until the next turn",
    )


def _mark(engine: TorchEngine, ids: Sequence[int], layout: Layout) -> str:
    """Return a digest of what a cache was computed from."""
    made_of = [engine.digest, str(engine.decoder.dtype), engine.decoder.fixed, list(ids)]
    written = json.dumps([*made_of, list(layout.attention), list(layout.mlp)])
    return hashlib.sha256(written.encode()).hexdigest()
