"""Suite `depth`: dropped and skipped sub-layers against controls at the same executed work.

Rankings come from the calibration part of `prose`; losses are read on its test part. Dropped sets
are compared at equal numbers of dropped units of one kind, so at equal work. The dynamic skip is
compared with static MLP sets of the same mean number of skipped MLPs (interpolated), and its time
is measured, because a decision that costs more than it saves is worth nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.bench.contest import answered, decision_of
from rheostat.bench.result import envelope
from rheostat.catalog import methods
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.method import with_params
from rheostat.kernel.plan import Setting
from rheostat.kernel.seams import Installed
from rheostat.methods.depth.llm_drop import units_of
from rheostat.stages.intervals import mean_interval
from rheostat.stages.losses import DOCUMENT_TOKENS, beginning
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.engines.base import Request
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.model_cost import ModelShape

SEED = 500000
DOCUMENTS = 6
DROPPED = (1, 2, 3, 5, 8)
SKIP_DIALS = (0.02, 0.05, 0.1, 0.2)
RANDOM_DRAWS = 3
TIMED_ITEMS = 6
TIMED_TOKENS = 48
MAX_SHARE = 0.5
"""Of the units of a kind: what dial 1 leaves out, for the methods and the controls alike."""


def bench_depth(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Read held-out text under every setting; time the dynamic one."""
    result = envelope("depth", "which sub-layers can this model spare?", seed=SEED)
    engine = load_torch("smollm2", progress=say)
    profile = cached_profile(engine) or make_profile(engine, progress=say)
    return result | measured_depth(engine, profile, say, journal)


def measured_depth(
    engine: TorchEngine,
    profile: Mapping[str, Any],
    say: Callable[[str], None],
    journal: Journal,
) -> dict[str, Any]:
    """Return the losses of all settings on one engine, and the verdicts."""
    reader = Reader(engine, profile)
    static = [
        journal.part(f"{k} {unit}", partial(_static_cell, reader, unit, k, say))
        for unit in ("attention", "mlp", "joint")
        for k in DROPPED
        if k <= most_dropped(unit, engine.shape)
    ]
    mlp = {c["dropped"]: c for c in static if c["unit"] == "mlp"}
    dynamic = [
        journal.part(f"dial {dial:g}", partial(_dynamic_cell, reader, dial, mlp, say))
        for dial in SKIP_DIALS
    ]
    return {
        "base_loss": reader.base_loss,
        "documents": DOCUMENTS,
        "tokens": sum(len(d) - 1 for d in reader.documents),
        "static": static,
        "dynamic": dynamic,
        "verdicts": {"llm_drop": static_verdict(static), "ffn_skip": dynamic_verdict(dynamic)},
    }


@final
class Reader:
    """Held-out documents and the base's loss on each."""

    def __init__(self, engine: TorchEngine, profile: Mapping[str, Any]) -> None:
        self.engine = engine
        self.profile = profile
        items = load_workload("prose", part="test", limit=DOCUMENTS, seed=SEED).items
        self.documents = [beginning(engine, item)[:DOCUMENT_TOKENS] for item in items]
        self.base = [self._nats(d, Installed()) for d in self.documents]
        self.base_loss = float(np.mean(self.base))

    def setting(self, name: str, dial: float, params: Mapping[str, Any]) -> Setting:
        """Fit a method to the profile."""
        fitted = with_params(methods()[name], params).fit(self.profile)
        return Setting(name=name, dial=dial, params=params, fitted=fitted)

    def excess(self, setting: Setting) -> _Excess:
        """Return the excess loss of every document and the MLPs skipped a token."""
        decision = decision_of(self.engine, setting)
        values, skipped, tokens = [], 0, 0
        for document, base in zip(self.documents, self.base, strict=True):
            scored = self.engine.score(document[:1], document[1:], installed=decision)
            values.append(float(scored.nats.mean()) - base)
            skipped += scored.trace.mlp_skipped
            tokens += len(document) - 1
        return _Excess(tuple(values), skipped / tokens)

    def _nats(self, document: list[int], decision: Installed) -> float:
        return float(self.engine.score(document[:1], document[1:], installed=decision).nats.mean())


@dataclass(frozen=True)
class _Excess:
    values: tuple[float, ...]
    skipped: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    def to_json(self) -> dict[str, Any]:
        return {"loss": self.mean, "interval": list(mean_interval(self.values))}


def most_dropped(unit: str, shape: ModelShape) -> int:
    """Return how many units dial 1 leaves out."""
    return math.floor(MAX_SHARE * len(units_of(unit, shape)))


def _static_cell(reader: Reader, unit: str, k: int, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"leaving out {k} of kind {unit}")
    dial = k / most_dropped(unit, reader.engine.shape)
    kind = {"unit": unit, "max_share": MAX_SHARE}

    def read(name: str, **params: Any) -> _Excess:
        return reader.excess(reader.setting(name, dial, kind | params))

    draws = [read("random_depth", draw=draw) for draw in range(RANDOM_DRAWS)]
    return {
        "unit": unit,
        "dropped": k,
        "llm_drop_similarity": read("llm_drop").to_json(),
        "llm_drop_loss": read("llm_drop", order="loss").to_json(),
        "random": {
            "loss": float(np.mean([d.mean for d in draws])),
            "draws": [d.mean for d in draws],
        },
        **{
            f"constant_{order}": read("constant_depth", order=order).to_json()
            for order in ("first", "last", "spread")
        },
    }


def _dynamic_cell(
    reader: Reader,
    dial: float,
    static: Mapping[int, Mapping[str, Any]],
    say: Callable[[str], None],
) -> dict[str, Any]:
    say(f"skipping MLPs while running, dial {dial:g}")
    setting = reader.setting("ffn_skip", dial, {})
    excess = reader.excess(setting)
    at = [0, *static]

    def same_skips(name: str) -> float:
        return float(
            np.interp(excess.skipped, at, [0.0, *(c[name]["loss"] for c in static.values())])
        )

    return {
        "dial": dial,
        "mlps_skipped_a_token": excess.skipped,
        "ffn_skip": excess.to_json(),
        "static_similarity_at_equal_skips": same_skips("llm_drop_similarity"),
        "static_loss_at_equal_skips": same_skips("llm_drop_loss"),
        "random_at_equal_skips": same_skips("random"),
        "seconds_a_token_over_base": _seconds_ratio(
            reader.engine, decision_of(reader.engine, setting)
        ),
    }


def _seconds_ratio(engine: TorchEngine, decision: Installed) -> float:
    """Return measured seconds a written token, the decision over the base, in turn."""
    items = load_workload("chat", part="test", limit=TIMED_ITEMS, seed=SEED).items
    ratios = []
    for i, item in enumerate(items):
        pair = (Installed(), decision) if i % 2 == 0 else (decision, Installed())
        first, second = (_seconds_a_token(engine, item, one) for one in pair)
        ratios.append(second / first if i % 2 == 0 else first / second)
    return float(np.median(ratios))


def _seconds_a_token(engine: TorchEngine, item: Request, decision: Installed) -> float:
    output = answered(engine, item, decision, TIMED_TOKENS)
    return output.cost.seconds / max(output.cost.new_tokens, 1)


def static_verdict(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """LLM-Drop holds where its loss is under the random mean and every constant order."""
    controls = ("random", "constant_first", "constant_last", "constant_spread")
    wins = sum(
        all(c["llm_drop_similarity"]["loss"] < c[name]["loss"] for name in controls) for c in cells
    )
    return {
        "beats_controls": 0 < 0.8 * len(cells) <= wins,
        "evidence": f"similarity order under random and every constant order in {wins} of "
        f"{len(cells)} cells of equal dropped units",
    }


def dynamic_verdict(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """FFN-SkipLLM holds where it loses less than static sets of its price, and saves time."""
    better = sum(c["ffn_skip"]["loss"] < c["static_similarity_at_equal_skips"] for c in cells)
    faster = sum(c["seconds_a_token_over_base"] < 1 for c in cells)
    return {
        "beats_controls": 0 < len(cells) == better == faster,
        "evidence": f"under the static set of equal skips in {better} of {len(cells)} dials, "
        f"faster than the base in {faster}",
    }
