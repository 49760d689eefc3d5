"""Figures of the suite `decode`: every contestant's speed over the base and over the best peer.

Where an answer is not as long as the base's, its seconds after the first token are scaled to the
base's number of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.stages.report_summary import bootstrap_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

Answers = Mapping[str, Mapping[str, Any]]
"""What is kept of every contestant's answer to an item."""
FAR = 0.8
"""A peer slower than this share of the fastest peer is behind,"""
FASTEST = 3
"""and so is one that is not among so many."""


def behind(counted: Sequence[Answers], peers: Sequence[str]) -> list[str]:
    """Return the peers that are behind the fastest ones."""
    speeds = {n: _speed(_of(counted, n), n) for n in peers if not _failure(counted, n)}
    best = max(speeds.values(), default=0.0)
    first = sorted(speeds, key=speeds.__getitem__, reverse=True)[:FASTEST]
    return [name for name, speed in speeds.items() if name not in first or speed < FAR * best]


def compared(
    counted: Sequence[Answers], *, own: Sequence[str], peers: Sequence[str]
) -> dict[str, Any]:
    """Compare on the items that count; who left is compared on those that it answered."""
    names = (*own, *peers)
    failed = {n: why for n in names if (why := _failure(counted, n)) is not None}
    speeds = {n: _speed(_of(counted, n), n) for n in names if counted and n not in failed}
    stayed = [n for n in peers if len(_of(counted, n)) == len(counted)]
    best_peer = _fastest(speeds, stayed)
    best_single = _fastest(speeds, [name for name in own if name != "controller"])

    def figures(name: str) -> dict[str, Any]:
        answered = _of(counted, name)
        steps = sum(answers[name]["steps"] or 0 for answers in answered)
        return {
            "items": len(answered),
            "tokens_per_second": speeds.get(name),
            "over_base": _ratio(counted, name, "base"),
            "over_best_peer": _ratio(counted, name, best_peer),
            "tokens_per_step": _total(answered, name, "tokens") / steps if steps else None,
            "identical_answers": _total(answered, name, "same") / max(len(answered), 1),
        }

    return {
        "best_peer": best_peer,
        "best_single": best_single,
        "controller_over_best_single": _ratio(counted, "controller", best_single),
        "contestants": {n: figures(n) for n in names if n not in failed},
        "failed": failed,
    }


def _of(counted: Sequence[Answers], *names: str) -> list[Answers]:
    """Return the items that all of these answered."""
    return [answers for answers in counted if all(name in answers for name in names)]


def _failure(counted: Sequence[Answers], name: str) -> str | None:
    """Return why it failed at some item, if it did."""
    reasons = [a[name]["failed"] for a in _of(counted, name) if "failed" in a[name]]
    return str(reasons[0]) if reasons else None


def _fastest(speeds: Mapping[str, float], among: Sequence[str]) -> str | None:
    return max((name for name in among if name in speeds), key=speeds.__getitem__, default=None)


def _total(answered: Sequence[Answers], name: str, what: str) -> float:
    return float(sum(answers[name][what] for answers in answered))


def _seconds(answered: Sequence[Answers], name: str) -> NDArray[np.float64]:
    """Return the seconds of each answer, as if it were as long as the base's."""
    return np.array([_scaled(answers[name], answers["base"]["tokens"]) for answers in answered])


def _scaled(answer: Mapping[str, Any], tokens: int) -> float:
    further: float = max(tokens - 1, 0) / max(answer["tokens"] - 1, 1)
    first = float(answer["first_seconds"])
    return first + (float(answer["seconds"]) - first) * further


def _speed(answered: Sequence[Answers], name: str) -> float:
    seconds = float(_seconds(answered, name).sum())
    return _total(answered, "base", "tokens") / seconds


def _ratio(counted: Sequence[Answers], name: str, other: str | None) -> dict[str, Any] | None:
    """Return how many times as fast as another one it is, with the interval over the items."""
    answered = [] if other is None else _of(counted, name, other)
    if other is None or not answered:
        return None
    slow, fast = _seconds(answered, other), _seconds(answered, name)
    interval = bootstrap_ratio(slow, fast)
    return {
        "speed_ratio": float(slow.sum() / fast.sum()),
        "speed_interval": None if interval is None else list(interval),
    }
