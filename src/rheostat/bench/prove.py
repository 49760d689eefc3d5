"""Suite `prove`: identity at the counts that the claims state.

Float32, greedy: the engine against `transformers` on the same token ids, and every lossless draft
source at several dials against the engine's own base. The base answers alone; with drafts several
requests of mixed lengths run together, so that a draft's neighbours are tried as well. Bfloat16
and the file's four bits, one request at a time: answers may part where the two largest logits are
closer than rounding; every first difference is held against that margin.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, final

from rheostat.bench.contest import decision_of
from rheostat.bench.forced_drafts import Forced
from rheostat.bench.peer import Transformers
from rheostat.bench.result import envelope
from rheostat.catalog import methods
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_load import DTYPES, load_torch
from rheostat.kernel.plan import Setting
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.seams import Installed
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.method import Card

SEED = 500000
PER_WORKLOAD = 50
WORKLOADS = ("edit", "copy", "summarise", "chat")
PEER_PER_WORKLOAD = 6
NARROW_PER_WORKLOAD = 3
"""Of the formats that round: bfloat16, and the file's four bits."""
BATCH = 8
"""Requests with drafts that run together in float32."""
NEW_TOKENS = 64
DIALS = (0.25, 1.0)
EXIT: Mapping[str, float] = MappingProxyType({"kept": 0.75})
"""Where the early exit lies that drafts."""
FORCED = 4
"""Tokens of its drafts."""


def bench_prove(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Count identical answers."""
    result = envelope("prove", "do the lossless claims hold at the counts they state?", seed=SEED)
    items = {
        name: load_workload(name, part="test", limit=PER_WORKLOAD, seed=SEED).items
        for name in WORKLOADS
    }
    engine = load_torch("smollm2", progress=say)
    every = _mixed(items, PER_WORKLOAD)
    base = Prover(engine, say, journal).answers(every, Installed(), "base")
    drafts = [Prover(engine, say, journal, batch=BATCH).compared_drafts(every, base)]
    peer = _peer(engine, _mixed(items, PEER_PER_WORKLOAD), base, say, journal)
    del engine
    gc.collect()
    few = _mixed(items, NARROW_PER_WORKLOAD)
    for dtype in ("bfloat16", "gguf"):
        prover = Prover(load_torch("smollm2", dtype=dtype, progress=say), say, journal)
        base = prover.answers(few, Installed(), "base")
        drafts.append(prover.compared_drafts(few, base))
        del prover
        gc.collect()
    return result | {
        "new_tokens": NEW_TOKENS,
        "batch_of_float32_drafts": BATCH,
        "transformers": peer,
        "drafts": drafts,
    }


def _mixed(items: Mapping[str, Sequence[Request]], count: int) -> list[Request]:
    """Return so many items of every workload, the workloads in turn."""
    return [
        item for group in zip(*(items[n][:count] for n in WORKLOADS), strict=True) for item in group
    ]


def compared_decisions(engine: TorchEngine) -> Iterator[tuple[str, float, Installed]]:
    """Give every lossless draft source at its dials, the last variant of each, several together,
    and an early exit that drafts at every step.

    Under their controller, sources that take forward passes abstain on this model.
    """

    cards = {name: found.card for name, found in methods().items() if _copies(found.card)}
    own = [name for name, card in cards.items() if not card.control]
    for name in cards:
        for dial in DIALS:
            yield name, dial, decision_of(engine, Setting(name=name, dial=dial))
    yield " + ".join(own), 1.0, decision_of(engine, *(Setting(name=name, dial=1.0) for name in own))
    trees = [Setting(name=n, dial=1.0, params=cards[n].variants[-1]) for n in own]
    yield f"{' + '.join(own)}, trees", 1.0, decision_of(engine, *trees)
    own_exit = Setting(name="self_draft", dial=1.0, params=EXIT, fitted={"unit": "exit"})
    exits = decision_of(engine, own_exit).draft
    assert isinstance(exits, Controlled)
    forced = Forced(source=exits.models[0][0], most=FORCED)
    yield "self_draft, forced", 1.0, Installed(draft=forced, models=forced)


def _copies(card: Card) -> bool:
    lossless = card.seam == "draft" and card.exactness != "lossy"
    return lossless and "draft.model" not in card.needs


class Written(NamedTuple):
    """What is kept of an answer."""

    token_ids: list[int]
    accepted: int = 0
    """Draft tokens that were kept."""


@final
@dataclass(frozen=True)
class Prover:
    """An engine that answers, and where that is told and kept."""

    engine: TorchEngine
    say: Callable[[str], None]
    journal: Journal
    batch: int = 1
    """Requests that run together."""

    def compared_drafts(
        self, items: Sequence[Request], base: Mapping[str, Written]
    ) -> dict[str, Any]:
        """Compare the lossless draft sources with the base's answers."""
        cells = []
        for name, dial, decision in compared_decisions(self.engine):
            own = self.answers(items, decision, f"{name} at {dial:g}")
            parted = [i for i in items if own[i.id].token_ids != base[i.id].token_ids]
            margins = [
                margin_where_parted(self.engine, i, base[i.id].token_ids, own[i.id].token_ids)
                for i in parted
            ]
            cells.append(
                {
                    "method": name,
                    "dial": dial,
                    "identical": len(items) - len(parted),
                    "accepted_drafts": sum(answer.accepted for answer in own.values()),
                    "largest_margin_where_parted": max(margins, default=None),
                }
            )
        return {"dtype": self.engine.dtype, "answers": len(items), "cells": cells}

    def answers(
        self, items: Sequence[Request], decision: Installed, label: str
    ) -> dict[str, Written]:
        """Answer the items, some together."""
        found: dict[str, Written] = {}
        for at in range(0, len(items), self.batch):
            self.say(f"{self.engine.dtype}, {label}: answer {at + 1} of {len(items)}")
            part = items[at : at + self.batch]
            kept = self.journal.part(
                f"{self.engine.dtype}, {label}, {part[0].id}", partial(self._batch, part, decision)
            )
            found |= {name: Written(*written) for name, written in kept.items()}
        return found

    def _batch(self, items: Sequence[Request], decision: Installed) -> dict[str, Written]:
        sampling = Sampling(max_new_tokens=NEW_TOKENS)
        outputs = self.engine.generate(items, sampling, installed=decision)
        return {o.id: Written(list(o.token_ids), o.trace.accepted) for o in outputs}


def margin_where_parted(
    engine: TorchEngine, item: Request, base: Sequence[int], own: Sequence[int]
) -> float:
    """Return the gap of the two largest logits at the first token that differs."""
    pairs = zip(base, own, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(base), len(own)))
    longer = max(base, own, key=len)
    scored = engine.score(engine.encode(item), longer[: at + 1], installed=Installed())
    return float(scored.margin[-1])


def _peer(
    engine: TorchEngine,
    items: Sequence[Request],
    base: Mapping[str, Written],
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    peer = Transformers("smollm2", DTYPES[engine.dtype], say)
    eos = sorted(engine.eos)

    def answer(item: Request) -> list[int]:
        prompt = engine.encode(item)
        return peer.generate([prompt], new_tokens=NEW_TOKENS, eos=eos).rows[0]

    same = 0
    for i, item in enumerate(items):
        say(f"transformers: answer {i + 1} of {len(items)}")
        theirs = journal.part(f"transformers, {item.id}", partial(answer, item))
        same += theirs == base[item.id].token_ids
    return {"dtype": engine.dtype, "answers": len(items), "identical": same}
