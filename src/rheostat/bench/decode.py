"""Suite `decode`: drafts against every peer on a processor, format by format, on one thread.

Contestants answer each item in turn: the engine's base, each draft source alone, all sources under
their controller, and the peers of the format. Seconds hold the prompt's reading. Which answers
count, and which cells make a claim, is as in the suite `draft`.
"""

from __future__ import annotations

import gc
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch

from rheostat.bench.decode_compared import Answers, compared
from rheostat.bench.draft import FEWEST
from rheostat.bench.llamacpp_peer import PeerError, build_facts, check_installed, peak_memory
from rheostat.bench.peer import Answer, Contestant, peers_of
from rheostat.bench.result import envelope
from rheostat.catalog import installed as install
from rheostat.catalog import methods
from rheostat.engines.base import Request, Sampling
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.plan import Plan, Setting
from rheostat.workloads.counting import counts
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.seams import Installed

SEED = 500000
NEW_TOKENS = 128
WARM_UP = "chat"
"""Its first item is answered by everyone, unmeasured, with few tokens."""
FEW_TOKENS = 8
ITEMS: Mapping[str, Mapping[str, int]] = {
    "float32": {"edit": 8, "copy": 8, "summarise": 4, "chat": 4},
    "bfloat16": {"edit": 14, "copy": 14, "summarise": 6, "chat": 6},
    "gguf": {"edit": 14, "copy": 14, "summarise": 6, "chat": 6},
}
"""Items of each workload, a number format each."""


@final
@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who answers in a number format, and where that is told and kept."""

    dtype: str
    own: Mapping[str, Contestant]
    """Ours, `base` among them."""
    peers: Mapping[str, Contestant]
    say: Callable[[str], None]
    journal: Journal


def bench_decode(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Let everyone answer every item, a format after the other."""
    check_installed()
    cells: list[dict[str, Any]] = []
    memory = []
    for dtype, workloads in ITEMS.items():
        engine = load_torch("smollm2", dtype=dtype, threads=1, progress=say)
        own = own_contestants(engine)
        alone = _round(own)["base"]
        with peers_of(engine, dtype, say) as peers:
            _round(peers)
            contest = Contest(dtype=dtype, own=own, peers=peers, say=say, journal=journal)
            cells += [decode_cell(contest, name, limit) for name, limit in workloads.items()]
            held = journal.part(f"{dtype}, memory", partial(_round, peers))
        memory.append({"dtype": dtype, "engine_alone": alone, "process_peak_bytes": held})
        del engine, own, peers, contest
        gc.collect()
    result = envelope("decode", "are drafts faster than every peer, and never slower?", seed=SEED)
    torch.set_num_threads(machine().cores)
    return result | {
        "new_tokens": NEW_TOKENS,
        "threads": 1,
        "llama.cpp": build_facts(),
        "cells": cells,
        "memory": memory,
    }


def own_contestants(engine: TorchEngine) -> dict[str, Contestant]:
    """Return the base, each draft source alone, and all but the controls under a controller."""
    sources = _sources()
    entered = {"base": [], "controller": list(sources.values())}
    entered |= {name: [setting] for name, setting in (sources | _sources(control=True)).items()}
    made: dict[str, Contestant] = {}
    for name, settings in entered.items():
        plan = Plan(model=engine.model, methods=tuple(settings))
        made[name] = partial(_own, engine, install(plan, engine.shape, engine.card.offers))
    return made


def _sources(*, control: bool = False) -> dict[str, Setting]:
    """Return the lossless draft sources, or those that are controls, each at its full dial."""
    return {
        name: Setting(name=name, dial=1.0)
        for name, found in methods().items()
        if (found.card.seam, found.card.control) == ("draft", control)
        and found.card.exactness != "lossy"
    }


def _own(engine: TorchEngine, decision: Installed, item: Request, new_tokens: int) -> Answer:
    sampling = Sampling(max_new_tokens=new_tokens)
    start = time.perf_counter()
    output = next(iter(engine.generate([item], sampling, installed=decision)))
    return Answer(
        tokens=len(output.token_ids),
        seconds=time.perf_counter() - start,
        text=output.text,
        token_ids=output.token_ids,
        steps=output.trace.steps,
        peak_bytes=peak_memory(),
    )


def _round(contestants: Mapping[str, Contestant]) -> dict[str, int | None]:
    """Let everyone answer something short; return the most bytes that each one's process held.

    Who cannot is left out here, and reported with the items. What this process held before, as
    while loading, is forgotten where the system can.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    item = load_workload(WARM_UP, part="test", limit=1, seed=SEED).items[0]
    held: dict[str, int | None] = {}
    for name, answer in contestants.items():
        with suppress(PeerError):
            held[name] = answer(item, FEW_TOKENS).peak_bytes
    return held


def decode_cell(contest: Contest, workload: str, limit: int) -> dict[str, Any]:
    """Let every contestant answer the items of one workload, each of them first in turn."""
    items = load_workload(workload, part="test", limit=limit, seed=SEED).items
    name = f"{contest.dtype} {workload}"
    answered: list[Answers] = []
    for i, item in enumerate(items):
        contest.say(f"{name}: item {i + 1} of {len(items)}")
        answers = partial(_answers, {**contest.own, **contest.peers}, item, first=i)
        answered.append(contest.journal.part(f"{name}, {item.id}", answers))
    counted = [answers for answers in answered if answers["base"]["counts"]]
    enough = len(counted) >= FEWEST and 2 * len(counted) >= len(items)
    return {
        "dtype": contest.dtype,
        "workload": workload,
        "items": len(items),
        "counted": len(counted),
        "claim": bool(counted) and (workload not in ("edit", "copy") or enough),
        **compared(answered, counted, own=list(contest.own), peers=list(contest.peers)),
    }


def _answers(
    contestants: Mapping[str, Contestant], item: Request, *, first: int
) -> dict[str, dict[str, Any]]:
    """Let every contestant answer an item; return what is kept of each answer."""
    names = list(contestants)
    turn = first % len(names)
    given = {n: _given(contestants[n], item) for n in names[turn:] + names[:turn]}
    base = given["base"]
    assert not isinstance(base, PeerError)
    counting = item.reference is None or counts(base.text, base.token_ids or (), item.reference)
    return {name: {"counts": counting} | _kept(given[name], base) for name in names}


def _given(contestant: Contestant, item: Request) -> Answer | PeerError:
    try:
        return contestant(item, NEW_TOKENS)
    except PeerError as error:
        return error


def _kept(answer: Answer | PeerError, base: Answer) -> dict[str, Any]:
    if isinstance(answer, PeerError):
        return {"failed": answer.message}
    shown = answer.token_ids is not None
    return {
        "same": answer.token_ids == base.token_ids if shown else answer.text == base.text,
        "tokens": answer.tokens,
        "seconds": answer.seconds,
        "steps": answer.steps,
    }
