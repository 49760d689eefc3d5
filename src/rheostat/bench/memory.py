"""Suite `memory`: the most memory that a model takes above the imports, loading included.

Each format runs in a process of its own, which says what it held after the imports and the most it
held until an answer was written, by the kernel's own mark; a second one is watched from inside,
which takes memory as well. That is compared with the weights in their format and the answer's
cache. The model's measurements are cached before, as from the second start on.

Three figures, each over weights and cache: all that came in above the imports; the same without
the pages of shared libraries (torch's code and that of the tokenizer are imported before, and come
into memory when they first run: about as much for a model of any size); and anonymous memory alone,
without any file's pages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from rheostat.bench.result import envelope
from rheostat.engines.embedded import EMBEDDED
from rheostat.engines.load_model import load_model
from rheostat.engines.torch_load import load_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.bench.journal import Journal

MODEL = "smollm2"
BYTES = {"float32": 4.0, "bfloat16": 2.0, "layercast": 2.0}
"""Bytes of a weight; in `gguf` weights are the file's own."""
BATCHES = (1, 8)
NEW_TOKENS = 64


def bench_memory(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Measure every format at batch 1 and 8."""
    result = envelope("memory", "how much memory does a model take above the imports?", seed=0)
    cells = []
    for dtype in (*BYTES, "gguf"):
        load_torch(MODEL, dtype=dtype, threads=1, progress=say)  # forms and prices are measured
        for batch in BATCHES:
            say(f"{MODEL} in {dtype}, batch {batch}")
            name = f"{dtype}, batch {batch}"
            cells.append(journal.part(name, partial(_cell, dtype, batch)))
    return result | {"model": MODEL, "new_tokens": NEW_TOKENS, "cells": cells}


def _cell(dtype: str, batch: int) -> dict[str, Any]:
    peak, found = (_child(dtype, batch, watched=watched) for watched in (False, True))
    needed = _weight_bytes(dtype) + found["cache"]
    above = peak["peak"] - peak["imports"]
    own = found["own"] - found["imports_own"]
    return {
        "dtype": dtype,
        "batch": batch,
        "imports_bytes": peak["imports"],
        "peak_bytes": peak["peak"],
        "anonymous_peak_bytes": found["anonymous"],
        "library_bytes": above - own,
        "weights_bytes": _weight_bytes(dtype),
        "cache_bytes": found["cache"],
        "above_needed": above / needed - 1,
        "without_libraries": own / needed - 1,
        "own_above_needed": (found["anonymous"] - found["imports_anonymous"]) / needed - 1,
    }


def _child(dtype: str, batch: int, *, watched: bool) -> dict[str, Any]:
    """Return what a process of its own held; to watch it from inside takes memory as well."""
    order = json.dumps(
        {"model": MODEL, "dtype": dtype, "batch": batch, "new": NEW_TOKENS, "watched": watched}
    )
    done = subprocess.run(
        [sys.executable, "-m", "rheostat.bench.memory_child", order],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _weight_bytes(dtype: str) -> int:
    if dtype == "gguf":
        return EMBEDDED[MODEL].path.stat().st_size
    count = sum(tensor.numel() for tensor in load_model(MODEL).tensors.values())
    return int(count * BYTES[dtype])
