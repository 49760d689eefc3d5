"""Figures of each run, and of each run against the base, paired by request.

Speed ratio = sum of the base's seconds / sum of the run's seconds over the same requests; its
interval is a percentile bootstrap over requests (both runs' seconds of a request are drawn
together), 2000 resamples from a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.kernel.cost import Cost, total
from rheostat.kernel.trace import Trace
from rheostat.stages.report_files import Interval, interval, number, same_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Output
    from rheostat.stages.report_data import Material
    from rheostat.stages.report_files import Run

RESAMPLES = 2000
SEED = 0
DRAWS_AT_ONCE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Against:
    """A run against the base, over the same requests."""

    speed: float | None
    """Base seconds / own seconds: above 1 is faster. None when nothing was measured."""
    speed_interval: Interval | None
    """None with fewer than two requests."""
    same_machine: bool = True
    """Whether both ran on one machine with the same versions; without that, no claim of speed."""
    same_model: bool = True
    """Whether one and the same model ran; without that, no claim of speed."""
    exact: int
    """Requests whose tokens are all the base's."""
    identical: float
    """Tokens before the first difference, as a share of the longer answer's tokens."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run's figures over the compared requests."""

    run: Run
    requests: int
    cost: Cost
    trace: Trace
    against: Against | None
    """None for the base."""

    @property
    def price_error(self) -> float | None:
        """Predicted price / measured seconds - 1; None without both."""
        both = self.cost.price > 0 and self.cost.seconds > 0
        return self.cost.price / self.cost.seconds - 1 if both else None

    @property
    def tokens_per_second(self) -> float | None:
        """New tokens a measured second."""
        return self.cost.new_tokens / self.cost.seconds if self.cost.seconds > 0 else None

    @property
    def tokens_per_step(self) -> float | None:
        """New tokens a decoding step (a forward pass after the prompt)."""
        return self.cost.new_tokens / self.trace.steps if self.trace.steps else None

    @property
    def acceptance(self) -> float | None:
        """Accepted draft tokens as a share of those proposed."""
        return self.trace.accepted / self.trace.proposed if self.trace.proposed else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        measured = self.run.plan.measured
        against = self.against
        return {
            "label": self.run.label,
            "folder": str(self.run.folder),
            "methods": [
                {"name": s.name, "dial": s.dial, "params": dict(s.params)}
                for s in self.run.plan.methods
            ],
            "expected": self.run.requests["count"],
            "finished": len(self.run.outputs),
            "compared": self.requests,
            "cost": self.cost.to_json(),
            "price_error": self.price_error,
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_step": self.tokens_per_step,
            "acceptance": self.acceptance,
            "mlp_skipped": self.trace.mlp_skipped,
            "reused_tokens": self.trace.reused,
            "saved_price": self.trace.saved,
            "speed_ratio": against.speed if against else None,
            "speed_interval": list(against.speed_interval or []) or None if against else None,
            "same_machine": against.same_machine if against else None,
            "same_model": against.same_model if against else None,
            "exact_match": against.exact / self.requests if against else None,
            "identical_tokens": against.identical if against else None,
            "loss": number(measured, "loss"),
            "loss_interval": list(interval(measured, "loss_interval") or []) or None,
            "loss_kind": measured.get("loss_kind"),
            "certified": self.run.plan.certificate is not None,
        }


def summarise(material: Material) -> tuple[Summary, ...]:
    """Return each run's figures, the base first."""
    return tuple(
        Summary(
            run=run,
            requests=len(material.ids),
            cost=total(o.cost for o in own),
            trace=_total_trace([o.trace for o in own]),
            against=_against(material, run) if at else None,
        )
        for at, run in enumerate(material.runs)
        for own in [_chosen(run, material.ids)]
    )


def _against(material: Material, run: Run) -> Against:
    base = material.runs[0]
    found = compare(_chosen(base, material.ids), _chosen(run, material.ids))
    return replace(
        found, same_machine=run.machine == base.machine, same_model=same_model(run, base)
    )


def compare(base: Sequence[Output], own: Sequence[Output]) -> Against:
    """Compare outputs of the same requests in the same order."""
    theirs = np.array([o.cost.seconds for o in base])
    ours = np.array([o.cost.seconds for o in own])
    longest = sum(max(len(b.token_ids), len(o.token_ids)) for b, o in zip(base, own, strict=True))
    before = sum(shared_tokens(b, o) for b, o in zip(base, own, strict=True))
    exact = sum(identical(b, o) for b, o in zip(base, own, strict=True))
    return Against(
        speed=_ratio(theirs.sum(), ours.sum()),
        speed_interval=bootstrap_ratio(theirs, ours),
        exact=exact,
        identical=before / longest if longest else exact / len(base),
    )


def identical(base: Output, own: Output) -> bool:
    """Return whether all tokens are equal; texts decide where the engine shows no tokens."""
    if not base.token_ids and not own.token_ids:
        return base.text == own.text
    return base.token_ids == own.token_ids


def shared_tokens(base: Output, own: Output) -> int:
    """Return the number of tokens before the first difference."""
    pairs = zip(base.token_ids, own.token_ids, strict=False)
    shorter = min(len(base.token_ids), len(own.token_ids))
    return next((at for at, (b, o) in enumerate(pairs) if b != o), shorter)


def bootstrap_ratio(
    above: np.ndarray[Any, np.dtype[np.float64]], below: np.ndarray[Any, np.dtype[np.float64]]
) -> Interval | None:
    """Return the 95 % percentile interval of sum(above) / sum(below), pairs drawn together."""
    n = len(above)
    if n < 2 or not (above > 0).all() or not (below > 0).all():
        return None
    rng = np.random.default_rng(SEED)
    # In parts: all draws at once would need gigabytes with many requests.
    parts = -(-RESAMPLES * n // DRAWS_AT_ONCE)
    draws = (rng.integers(0, n, (len(p), n)) for p in np.array_split(np.arange(RESAMPLES), parts))
    ratios = [above[drawn].sum(axis=1) / below[drawn].sum(axis=1) for drawn in draws]
    low, high = np.quantile(np.concatenate(ratios), [0.025, 0.975])
    return Interval(float(low), float(high))


def _chosen(run: Run, ids: Sequence[str]) -> list[Output]:
    return [run.outputs[i] for i in ids]


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if above > 0 and below > 0 else None


def _total_trace(traces: Sequence[Trace]) -> Trace:
    result = Trace()
    for trace in traces:
        result.steps += trace.steps
        result.draft_steps += trace.draft_steps
        result.proposed += trace.proposed
        result.accepted += trace.accepted
        result.mlp_skipped += trace.mlp_skipped
        result.reused += trace.reused
        result.saved += trace.saved
        result.seconds_deciding += trace.seconds_deciding
        for length, steps in trace.lengths.items():
            result.lengths[length] = result.lengths.get(length, 0) + steps
    return result
