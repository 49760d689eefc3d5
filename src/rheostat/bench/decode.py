"""Suite `decode`: drafts against every peer on a processor, format by format, on one thread.

The engine's base answers an item first; where its answer counts, the others answer in turn: each
draft source alone, all sources under their controller, and the peers of the format. After some
items only the fastest peers go on, and only those near the fastest one. Seconds hold the prompt's
reading. Which answers count, and which cells make a claim, is as in the suite `draft`.
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

from rheostat.bench.contest import decision_of, in_turn
from rheostat.bench.decode_compared import Answers, behind, compared
from rheostat.bench.draft import FEWEST
from rheostat.bench.hindsight import priced, together
from rheostat.bench.llamacpp_peer import PeerError, build_facts, check_installed, peak_memory
from rheostat.bench.peer import Answer, Contestant, peers_of
from rheostat.bench.result import envelope
from rheostat.catalog import methods
from rheostat.engines.base import Request, Sampling
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.oracle.draft_ways import ways_compared
from rheostat.kernel.plan import Setting
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.workloads.counting import counts
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.seams import Installed

SEED = 500000
NEW_TOKENS = 128
WARM_UP = "chat"
"""Its first item is answered by everyone, unmeasured, with few tokens."""
FEW_TOKENS = 8
FORMATS = ("float32", "bfloat16", "gguf")
ITEMS: Mapping[str, int] = {"edit": 44, "copy": 44, "summarise": 10, "chat": 10}
"""Items of each workload, of which only those are contested whose base answer counts."""
TRIED = 4
"""Contested items after which peers that are behind leave."""


@final
@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who answers in a number format, and where that is told and kept."""

    dtype: str
    own: Mapping[str, Contestant]
    """Ours, `base` among them."""
    peers: Mapping[str, Contestant]
    prices: Callable[[Request, Sequence[int]], dict[str, float]]
    """Prices the ways to draft along the base's answer."""
    say: Callable[[str], None]
    journal: Journal


def bench_decode(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Let everyone answer every item, a format after the other."""
    check_installed()
    cells: list[dict[str, Any]] = []
    memory = []
    for dtype in FORMATS:
        engine = load_torch("smollm2", dtype=dtype, threads=1, progress=say)
        own = own_contestants(engine)
        alone = _round(own)["base"]
        with peers_of(engine, dtype, say) as peers:
            _round(peers)
            contest = Contest(
                dtype=dtype,
                own=own,
                peers=peers,
                prices=drafting_prices(engine),
                say=say,
                journal=journal,
            )
            cells += [decode_cell(contest, name, limit) for name, limit in ITEMS.items()]
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
        "in_hindsight": {dtype: _together(cells, dtype) for dtype in FORMATS},
        "memory": memory,
    }


def _together(cells: Sequence[Mapping[str, Any]], dtype: str) -> dict[str, Any] | None:
    found = [c["in_hindsight"] for c in cells if c["dtype"] == dtype and c["in_hindsight"]]
    return together(found) if found else None


def own_contestants(engine: TorchEngine) -> dict[str, Contestant]:
    """Return the base, each draft source alone, and all but the controls under a controller."""
    chosen = sources()
    entered = {"base": [], "controller": list(chosen.values())}
    entered |= {name: [setting] for name, setting in (chosen | sources(control=True)).items()}
    return {
        name: partial(_own, engine, decision_of(engine, *settings))
        for name, settings in entered.items()
    }


def drafting_prices(engine: TorchEngine) -> Callable[[Request, Sequence[int]], dict[str, float]]:
    """Return what prices the ways to draft along an answer of this engine."""
    made = {name: decision_of(engine, setting).draft for name, setting in sources().items()}
    controller = decision_of(engine, *sources().values()).draft
    assert isinstance(controller, Controlled)
    alone = {n: one.sources[0][0] for n, one in made.items() if isinstance(one, Controlled)}
    return partial(priced, engine, controller=controller, sources=alone)


def sources(*, control: bool = False) -> dict[str, Setting]:
    """Return the lossless draft sources, or those that are controls, each at its full dial.

    Sources that take forward passes have the suite `selfdraft`.
    """
    return {
        name: Setting(name=name, dial=1.0)
        for name, found in methods().items()
        if (found.card.seam, found.card.control) == ("draft", control)
        and found.card.exactness != "lossy"
        and "draft.model" not in found.card.needs
    }


def _own(engine: TorchEngine, decision: Installed, item: Request, new_tokens: int) -> Answer:
    sampling = Sampling(max_new_tokens=new_tokens)
    shown: list[float] = []

    def note(name: str, piece: str) -> None:
        if not shown:
            shown.append(time.perf_counter())

    start = time.perf_counter()
    outputs = engine.generate([item], sampling, installed=decision, on_token=note)
    output = next(iter(outputs))
    end = time.perf_counter()
    return Answer(
        tokens=len(output.token_ids),
        seconds=end - start,
        first_seconds=(shown or [end])[0] - start,
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
    """Let the contestants answer the items of one workload, each of them first in turn."""
    items = load_workload(workload, part="test", limit=limit, seed=SEED).items
    name = f"{contest.dtype} {workload}"
    counted: list[Answers] = []
    peers = dict(contest.peers)
    for i, item in enumerate(items):
        contest.say(f"{name}: item {i + 1} of {len(items)}")
        answers = partial(_answers, contest, peers, item, first=len(counted))
        answered = contest.journal.part(f"{name}, {item.id}", answers)
        if answered["base"]["counts"]:
            counted.append(answered)
        if len(counted) == TRIED:
            for peer in behind(counted, list(peers)):
                del peers[peer]
    enough = len(counted) >= FEWEST and 2 * len(counted) >= len(items)
    return {
        "dtype": contest.dtype,
        "workload": workload,
        "items": len(items),
        "counted": len(counted),
        "claim": bool(counted) and (workload not in ("edit", "copy") or enough),
        "in_hindsight": ways_compared([answers["base"]["prices"] for answers in counted]),
        **compared(counted, own=list(contest.own), peers=list(contest.peers)),
    }


def _answers(
    contest: Contest, peers: Mapping[str, Contestant], item: Request, *, first: int
) -> dict[str, dict[str, Any]]:
    """Let the base answer an item, and everyone else if that counts; return what is kept."""
    contestants = {**contest.own, **peers}
    base = _given(contestants["base"], item)
    assert not isinstance(base, PeerError)
    counting = item.reference is None or counts(base.text, base.token_ids or (), item.reference)
    names = [name for name in contestants if name != "base"] if counting else []
    given = {n: _given(contestants[n], item) for n in in_turn(names, first)}
    kept = {name: _kept(given[name], base) for name in names}
    own = _kept(base, base) | {"counts": counting}
    if counting:
        own["prices"] = contest.prices(item, base.token_ids or ())
    return {"base": own, **kept}


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
        "first_seconds": answer.first_seconds,
        "steps": answer.steps,
    }
