"""Shapes under load for the suite `models`: several rows at once, and behind a long text.

The seconds that count are those after the first token: of ours, an answer's less those of one
token; of `transformers`, those after its first step.
"""

from __future__ import annotations

import random
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rheostat.bench.result import spread
from rheostat.engines.base import Request, Sampling
from rheostat.kernel.seams import Installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.peer import Transformers
    from rheostat.engines.torch_engine import TorchEngine


class Load(NamedTuple):
    """What a shape is put under."""

    rows: int
    prompt: int
    """Tokens of every row's prompt, each a byte."""
    shapes: tuple[str, ...] = ()
    """Which shapes; empty = all."""


LOADS: Mapping[str, Load] = MappingProxyType(
    {
        "eight at once": Load(rows=8, prompt=48),
        "behind 1,900 tokens": Load(1, 1900, ("llama", "mistral", "gemma2", "gemma3", "gpt2")),
    }
)
REPEATS = 5
NEW_TOKENS = 32


def in_turn(
    ours: Callable[[int], float], theirs: Callable[[int], float], repeats: int
) -> dict[str, Any]:
    """Time the two in turn, the order alternating; the first turn warms and does not count.

    Args:
        ours, theirs: return the tokens a second of a turn.

    Returns:
        What either reached, and their ratio, over the turns.
    """
    found: list[tuple[float, float]] = []
    for i in range(repeats + 1):
        if i % 2:
            own = ours(i)
            found.append((own, theirs(i)))
        else:
            other = theirs(i)
            found.append((ours(i), other))
    return {
        "engine_tokens_per_second": spread([own for own, _ in found[1:]]),
        "transformers_tokens_per_second": spread([other for _, other in found[1:]]),
        "ratio": spread([own / other for own, other in found[1:]]),
    }


def loaded(name: str, engine: TorchEngine, peer: Transformers) -> list[dict[str, Any]]:
    """Time the two under every load of a shape."""
    return [
        {"model": name, "dtype": engine.dtype, "load": told} | _under(load, engine, peer)
        for told, load in LOADS.items()
        if not load.shapes or name in load.shapes
    ]


def _under(load: Load, engine: TorchEngine, peer: Transformers) -> dict[str, Any]:
    return in_turn(
        lambda i: _speed(engine, _texts(load, i)),
        lambda i: _peer_speed(engine, peer, _texts(load, i)),
        REPEATS,
    )


def _texts(load: Load, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefgh ", k=load.prompt)) for _ in range(load.rows)]


def _speed(engine: TorchEngine, texts: Sequence[str]) -> float:
    (some, first), (more, whole) = (_answered(engine, texts, n) for n in (1, 1 + NEW_TOKENS))
    return max(more - some, 1) / max(whole - first, 1e-9)


def _answered(engine: TorchEngine, texts: Sequence[str], new_tokens: int) -> tuple[int, float]:
    requests = [Request(id=str(i), prompt=text) for i, text in enumerate(texts)]
    sampling = Sampling(max_new_tokens=new_tokens)
    start = time.perf_counter()
    outputs = list(engine.generate(requests, sampling, installed=Installed()))
    return sum(len(o.token_ids) for o in outputs), time.perf_counter() - start


def _peer_speed(engine: TorchEngine, peer: Transformers, texts: Sequence[str]) -> float:
    prompts = [engine.encode(Request(id="", prompt=text)) for text in texts]
    timed = peer.generate(prompts, new_tokens=1 + NEW_TOKENS, eos=sorted(engine.eos))
    written = sum(max(len(row) - 1, 0) for row in timed.rows)
    return max(written, 1) / (timed.seconds - timed.first_seconds)
