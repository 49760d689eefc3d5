"""Suite `selfdraft`: drafts by forward passes against copies and the fixed lookup.

Under the controller these sources abstain where they do not pay, so they are also forced to draft
at every step: early exits at several depths and lengths, sets of dropped sub-layers, and the stop
rules of SpecDec++. No smaller model of the embedded one's vocabulary exists, so `draft_model` is
not measured. Which answers count is as in the suite `draft`; they are few, so no claim of speed is
made.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rheostat.bench.contest import contested, decision_of
from rheostat.bench.forced_drafts import Forced
from rheostat.bench.result import envelope
from rheostat.catalog import method
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.method import with_params
from rheostat.kernel.plan import Setting
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.seams import Installed
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.report_summary import bootstrap_ratio
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine

SEED = 500000
NEW_TOKENS = 64
DTYPE = "bfloat16"
ITEMS: Mapping[str, int] = MappingProxyType({"edit": 3, "chat": 3})
METHODS = ("self_draft", "specdec_pp")
CONTROL = "fixed_lookup"
SHARES = (0.2, 0.5, 0.75, 0.9)
"""Share of the layers that lie below the early exits."""
LENGTHS = (1, 2, 4)
"""Tokens of the drafts of one of them."""
LENGTHS_AT = 0.75
SETS = (("attention", 0.9), ("joint", 0.9), ("layer", 0.9), ("layer", 0.7))
"""Units that are left out, and the share of them that is kept."""
LONGEST = 10
"""Tokens of a draft that a rule stops."""


def bench_selfdraft(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Answer every item with every contestant in turn."""
    result = envelope("selfdraft", "do drafts by forward passes pay?", seed=SEED)
    engine = load_torch("smollm2", dtype=DTYPE, threads=machine().cores, progress=say)
    profile = cached_profile(engine) or {}
    if "acceptance" not in profile:
        profile = make_profile(engine, acceptance=True, progress=say)
    own = contestants(engine, profile)
    cells = [cell(engine, own, name, limit, say, journal) for name, limit in ITEMS.items()]
    return result | {
        "dtype": DTYPE,
        "new_tokens": NEW_TOKENS,
        "threads": torch.get_num_threads(),
        "head": profile["acceptance"],
        "cells": cells,
        "verdicts": {name: verdict(cells, name) for name in METHODS},
    }


def contestants(engine: TorchEngine, profile: Mapping[str, Any]) -> dict[str, Installed]:
    """Return the methods under their controller, and their sources forced to draft."""

    def of(*names: str, **params: Any) -> Installed:
        settings = []
        for name in names:
            fitted = with_params(method(name), params).fit(profile)
            settings.append(Setting(name=name, dial=1.0, params=params, fitted=fitted))
        return decision_of(engine, *settings)

    def forced(length: int, name: str, **params: Any) -> Installed:
        decision = of(name, **params).draft
        assert isinstance(decision, Controlled)
        drafter = Forced(source=decision.models[0][0], most=length)
        return Installed(draft=drafter, models=drafter)

    entered = {"base": Installed(), CONTROL: of(CONTROL)}
    entered |= {name: of(name) for name in ("copyspec", "suffix", *METHODS)}
    entered["suffix + specdec_pp"] = of("suffix", "specdec_pp")
    for kept in SHARES:
        for length in LENGTHS if kept == LENGTHS_AT else (2,):
            entered[f"forced exit {kept:g}, {length}"] = forced(length, "self_draft", kept=kept)
    for unit, kept in SETS:
        made = forced(2, "self_draft", unit=unit, kept=kept)
        entered[f"forced {unit} {kept:g}, 2"] = made
    entered["forced specdec_pp"] = forced(LONGEST, "specdec_pp")
    entered["forced specdec_pp, threshold 0.7"] = forced(LONGEST, "specdec_pp", threshold=0.7)
    return entered


def cell(  # noqa: PLR0913  # what is asked of whom, and where that is told and kept
    engine: TorchEngine,
    own: Mapping[str, Installed],
    workload: str,
    limit: int,
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    """Let every contestant answer the items of one workload, each of them first in turn."""
    items = load_workload(workload, part="test", limit=limit, seed=SEED).items
    answered = []
    for i, item in enumerate(items):
        say(f"{workload}: item {i + 1} of {len(items)}")
        answers = partial(contested, engine, item, own, first=i, new_tokens=NEW_TOKENS)
        answered.append(journal.part(f"{workload}, {item.id}", answers))
    counted = [answers for answers in answered if answers["base"]["counts"]]
    return {
        "workload": workload,
        "items": len(items),
        "counted": len(counted),
        "contestants": {name: _against(answered, counted, name) for name in own},
    }


Answered = Mapping[str, Mapping[str, Any]]
"""What every contestant made of an item."""


def _against(
    answered: Sequence[Answered], counted: Sequence[Answered], name: str
) -> dict[str, Any]:
    """Compare with the base on the items that count; identity is over all items."""

    def total(what: str, of: str = name) -> float:
        return float(sum(answers[of][what] for answers in counted))

    slow, fast = (np.array([a[n]["seconds"] for a in counted]) for n in ("base", name))
    interval = bootstrap_ratio(slow, fast)
    return {
        "speed_ratio": float(slow.sum() / fast.sum()) if len(fast) else None,
        "speed_interval": None if interval is None else list(interval),
        "predicted_ratio": total("price", "base") / total("price") if counted else None,
        "identical_answers": sum(bool(a[name]["same"]) for a in answered) / len(answered),
        "draft_passes_per_step": total("passes") / total("steps") if total("steps") else None,
        "discarded": 1 - total("accepted") / total("proposed") if total("proposed") else None,
        "tokens_per_step": total("tokens") / total("steps") if total("steps") else None,
    }


def verdict(cells: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """A method beats the fixed lookup when it is faster in most cells and never costs."""
    ratios = []
    for found in cells:
        speeds = {n: c["speed_ratio"] for n, c in found["contestants"].items() if c["speed_ratio"]}
        if name in speeds and CONTROL in speeds:
            ratios.append((speeds[name], speeds[CONTROL]))
    better = sum(own > other for own, other in ratios)
    worst = min((own for own, _ in ratios), default=0.0)
    return {
        "beats_controls": bool(ratios) and better > len(ratios) / 2 and worst >= 0.95,
        "evidence": f"faster than the fixed lookup in {better} of "
        f"{len(ratios)} cells; slowest cell {worst:.2f} of the base's speed",
    }
