"""Suite `models`: every shape against `transformers`, same weights, format and one thread.

Gemma-3-270M answers twenty prompts as `transformers` does, counted; it, and a random model of every
shape, are timed side by side, the random ones under load as well. They write nonsense, which takes
as long as sense. In the end Gemma is profiled and planned.
"""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any

from rheostat.bench.models_loads import in_turn, loaded
from rheostat.bench.models_planned import planned
from rheostat.bench.models_shapes import SHAPES, byte_tokenizer, random_module
from rheostat.bench.peer import Transformers
from rheostat.bench.result import envelope
from rheostat.engines.base import Request, Sampling
from rheostat.engines.load import load_live
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_load import DTYPES, load_torch
from rheostat.engines.torch_model import Llama
from rheostat.kernel.seams import Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.bench.journal import Journal
REAL = "gemma3-270m"
FORMATS = ("float32", "bfloat16")
REPEATS = 5
NEW_TOKENS = 32
IDENTICAL_TOKENS = 16
PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village,",
    "def fibonacci(n):\n    ",
    "1, 1, 2, 3, 5, 8, 13,",
    "Q: What is 17 + 25?\nA:",
    "Water boils at",
    "import os\nimport sys\n\n\ndef main(argv):\n",
    "| name | price |\n|------|-------|\n| cup | 3 |\n| pen |",
    "Die Hauptstadt von Deutschland heißt",
    "Привет, как",
    "日本の首都は",
    "naïve café — “quotes” … €",
    "   \n\n\tx",
    "<b>Chapter one</b>\n\n",
    "Roses are red, violets are",
    "To be, or not to be,",
    "The three primary colours are red,",
    "🙂🙂🙂",
    "SELECT name FROM users WHERE",
    "The",
)


def bench_models(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Count identical answers of the real model, then time every shape."""
    result = envelope("models", "does every shape equal transformers, and is it as fast?", seed=0)
    cells: list[dict[str, Any]] = []
    loads: list[dict[str, Any]] = []
    counted: dict[str, Any] = {}
    for dtype in FORMATS:
        say(f"{REAL} in {dtype}")
        kept = journal.part(f"{REAL}, {dtype}", partial(_real, dtype, say))
        cells.append(kept["speed"])
        counted |= kept["counted"]
    for name in SHAPES:
        for dtype in FORMATS:
            say(f"a random {name} in {dtype}")
            kept = journal.part(f"{name}, {dtype}", partial(_random, name, dtype))
            cells.append(kept["speed"])
            loads += kept["loads"]
    say(f"a profile and a plan of {REAL}")
    plan = journal.part(f"{REAL}, planned", partial(planned, REAL, say))
    told = {"identity": counted, "planned": plan, "cells": cells, "loads": loads}
    return result | {"threads": 1, "new_tokens": NEW_TOKENS} | told


def _real(dtype: str, say: Callable[[str], None]) -> dict[str, Any]:
    engine = load_torch(REAL, dtype=dtype, threads=1, progress=say)
    peer = Transformers(REAL, DTYPES[dtype], say)
    found: dict[str, Any] = {"counted": {}, "speed": _timed(REAL, engine, peer)}
    if dtype == "float32":
        found["counted"] = _identical(engine, peer, say)
    del engine, peer
    gc.collect()
    return found


def _random(name: str, dtype: str) -> dict[str, Any]:
    module = random_module(name, DTYPES[dtype])
    engine = load_live(module, byte_tokenizer(), threads=1)
    assert isinstance(engine, TorchEngine)
    peer = Transformers.around(module)
    return {"speed": _timed(name, engine, peer), "loads": loaded(name, engine, peer)}


def _identical(
    engine: TorchEngine, peer: Transformers, say: Callable[[str], None]
) -> dict[str, Any]:
    same = 0
    for i, prompt in enumerate(PROMPTS):
        say(f"{engine.model}: answer {i + 1} of {len(PROMPTS)}")
        ours = _ours(engine, prompt, IDENTICAL_TOKENS)[0]
        theirs = peer.generate(
            [engine.encode(Request(id="", prompt=prompt))],
            new_tokens=IDENTICAL_TOKENS,
            eos=sorted(engine.eos),
        )
        same += ours == theirs.rows[0]
    return {
        "model": engine.model,
        "dtype": engine.dtype,
        "prompts": len(PROMPTS),
        "new_tokens": IDENTICAL_TOKENS,
        "identical": same,
    }


def _timed(name: str, engine: TorchEngine, peer: Transformers) -> dict[str, Any]:
    """Time the two on one prompt after another."""
    runs_on = "the lean loop" if isinstance(engine.decoder, Llama) else "its own module"
    return {"model": name, "dtype": engine.dtype, "runs_on": runs_on} | in_turn(
        lambda i: _speed(engine, PROMPTS[i]),
        lambda i: _peer_speed(engine, peer, PROMPTS[i]),
        REPEATS,
    )


def _speed(engine: TorchEngine, prompt: str) -> float:
    written, seconds = _ours(engine, prompt, NEW_TOKENS)
    return max(len(written), 1) / seconds


def _peer_speed(engine: TorchEngine, peer: Transformers, prompt: str) -> float:
    ids = engine.encode(Request(id="", prompt=prompt))
    timed = peer.generate([ids], new_tokens=NEW_TOKENS, eos=sorted(engine.eos))
    return max(len(timed.rows[0]), 1) / timed.seconds


def _ours(engine: TorchEngine, prompt: str, new_tokens: int) -> tuple[list[int], float]:
    sampling = Sampling(max_new_tokens=new_tokens)
    request = Request(id="", prompt=prompt)
    (output,) = engine.generate([request], sampling, installed=Installed())
    return list(output.token_ids), output.cost.seconds
