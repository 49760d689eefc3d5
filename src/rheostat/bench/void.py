"""Suite `void`: whole layers left out by how often they are void, against other orders.

`lac` at every traced alpha, `llm_drop` by similarity, a random order and constant ones, at equal
numbers of layers, so at equal work. Orders come from the calibration part of `prose`, losses from
its test part. The active share is what the paper calls the layers in use.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.bench.depth import MAX_SHARE, RANDOM_DRAWS, SEED, Reader, most_dropped
from rheostat.bench.result import envelope
from rheostat.engines.torch_load import load_torch
from rheostat.stages.profile import cached_profile, make_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.torch_engine import TorchEngine

DROPPED = (1, 2, 3, 5, 8)
ORDERS = ("first", "last", "spread")


def bench_void(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Read held-out text with layers left out."""
    result = envelope("void", "are layers that are often void the ones to leave out?", seed=SEED)
    engine = load_torch("smollm2", progress=say)
    profile = cached_profile(engine)
    if profile is None or "void" not in profile["redundancy"]:
        profile = make_profile(engine, progress=say)
    return result | measured_void(engine, profile, say, journal)


def measured_void(
    engine: TorchEngine,
    profile: Mapping[str, Any],
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    """Return the losses of all orders on one engine, and the verdict."""
    reader = Reader(engine, profile)
    traced = profile["redundancy"]["void"]
    cells = [
        journal.part(f"{k} layers", partial(_cell, reader, traced["alpha"], k, say))
        for k in DROPPED
        if k <= most_dropped("layer", engine.shape)
    ]
    return {
        "base_loss": reader.base_loss,
        "active": [
            {"alpha": alpha, "share": 1 - float(np.mean(share))}
            for alpha, share in zip(traced["alpha"], traced["share"], strict=True)
        ],
        "cells": cells,
        "verdicts": {"lac": verdict(cells)},
    }


def _cell(
    reader: Reader, alphas: Sequence[float], k: int, say: Callable[[str], None]
) -> dict[str, Any]:
    say(f"leaving out {k} whole layers")
    dial = k / most_dropped("layer", reader.engine.shape)
    layers = {"unit": "layer", "max_share": MAX_SHARE}

    def read(name: str, **params: Any) -> float:
        return reader.excess(reader.setting(name, dial, params)).mean

    draws = [read("random_depth", draw=draw, **layers) for draw in range(RANDOM_DRAWS)]
    return {
        "dropped": k,
        "lac": [
            {"alpha": alpha, "loss": read("lac", alpha=alpha, max_share=MAX_SHARE)}
            for alpha in alphas
        ],
        "llm_drop": read("llm_drop", **layers),
        "random": float(np.mean(draws)),
        **{f"constant_{order}": read("constant_depth", order=order, **layers) for order in ORDERS},
    }


def verdict(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """LAC, at the paper's alpha, holds where it loses less than every control."""
    controls = ("random", *(f"constant_{order}" for order in ORDERS))
    wins = sum(all(c["lac"][-1]["loss"] < c[name] for name in controls) for c in cells)
    return {
        "beats_controls": 0 < 0.8 * len(cells) <= wins,
        "evidence": f"under the random and every constant order in {wins} of {len(cells)} cells "
        "of equal layers left out",
    }
