"""One reading of a long prompt for many cache decisions, and what each makes of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch

from rheostat.engines.torch_cache import Borders
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_generate import CHUNK
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_queries import Queries
from rheostat.kernel.model_cost import Work
from rheostat.kernel.seams import Depth, Layout
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.bench.cache_texts import Long
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.kv_cache import Border, Eviction, Held, Kept, Singles
    from rheostat.kernel.model_cost import ModelShape


class Read(NamedTuple):
    """What came of a text under one decision."""

    nats: float
    """Mean over its continuation."""
    first_nats: float
    """Mean over what of it is written before the second border."""
    right: bool
    """Whether every token of it would have been chosen."""
    bytes: int
    """Bytes of the row's cache at the end, everything that it stores included."""


@final
@dataclass(frozen=True)
class _Watching:
    """Shows the prompt's attention to several decisions and lets nothing go."""

    others: Sequence[Eviction]
    every: int
    newest: int | None = None

    def entries(self, tokens: int) -> int:
        return tokens

    def observe(self, weights: Singles, state: Any) -> Any:
        states = state or [None] * len(self.others)
        return [
            other.observe(weights if other.newest is None else weights[:, -other.newest :], known)
            if other.newest != 0
            else None
            for other, known in zip(self.others, states, strict=True)
        ]

    def compact(self, held: Held, border: Border) -> Kept:
        raise AssertionError("nothing is let go")


def readings(
    engine: TorchEngine, text: Long, contestants: Mapping[str, Eviction], every: int
) -> dict[str, Read]:
    """Read a text's prompt once, then its continuation under every decision and the base."""
    watching = Compaction(engine.llama, engine.prices(), _Watching([*contestants.values()], every))
    depth = Depth(Layout.full(engine.shape.layers))
    n = len(text.prompt)
    cache = watching.cache(depth.layout, prompt=n, capacity=n)
    for at, end in watching.parts(n, n, CHUNK):
        _settle(watching, cache)
        feed = Feed(cache, text.prompt[at:end], at - n)
        first = engine.llama.forward([feed], depth, logit_rows=[end - at - 1]).logits
    _settle(watching, cache)
    made = {"base": _continued(engine, cache.fork(), text, None, first, every)}
    for place, (name, eviction) in enumerate(contestants.items()):
        made[name] = _continued(
            engine, _handed(cache, engine, eviction, place), text, eviction, first, every
        )
    return made


def _handed(cache: RowCache, engine: TorchEngine, eviction: Eviction, place: int) -> RowCache:
    """Return the prompt's cache as one decision would have it at the prompt's end."""
    twin = cache.fork()
    shown: Any = cache.states
    twin.states = tuple(states[place] for states in shown)
    twin.borders, twin.settled, twin.queries = Borders(cache.length, eviction.every), 0, None
    if eviction.newest != 0:
        slots, llama = len(cache.states), engine.llama
        twin.queries = Queries(engine.shape, slots, room=eviction.every, dtype=llama.dtype)
        twin.queries.restart(cache.length, eviction.every)
    return twin


def _continued(  # noqa: PLR0913  # one cache, and what is read with it
    engine: TorchEngine,
    cache: RowCache,
    text: Long,
    eviction: Eviction | None,
    first: torch.Tensor,
    every: int,
) -> Read:
    compaction = Compaction(engine.llama, engine.prices(), eviction)
    depth = Depth(Layout.full(engine.shape.layers))
    rows = [first]
    read = text.continuation[:-1]
    for at in range(0, len(read), every):
        _settle(compaction, cache)
        feed = Feed(cache, read[at : at + every], at)
        rows.append(engine.llama.forward([feed], depth, logit_rows=None).logits)
    _settle(compaction, cache)
    logits = torch.cat(rows).float()
    targets = torch.tensor(text.continuation)
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    size = cache.bytes if eviction is not None else cache.length * bytes_a_token(engine.shape)
    right = bool((logits.argmax(dim=1) == targets).all())
    return Read(float(nats.mean()), float(nats[:every].mean()), right, size)


def _settle(compaction: Compaction, cache: RowCache) -> None:
    compaction.settle([cache], [Work()], [Trace()])


def bytes_a_token(shape: ModelShape) -> int:
    """Return the bytes of one token's keys and values in all layers, in float32."""
    return shape.layers * 2 * shape.kv_heads * shape.head_size * 4
