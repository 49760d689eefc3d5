"""Figures of the suite `decode`: every contestant's speed over the base and over the best peer.

Where an answer is not as long as the base's, its seconds are scaled to the base's number of
tokens, so speeds are seconds a token.
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


def compared(
    answered: Sequence[Answers],
    counted: Sequence[Answers],
    *,
    own: Sequence[str],
    peers: Sequence[str],
) -> dict[str, Any]:
    """Compare on the items that count; identity is over all items."""
    failed = {
        name: answers[name]["failed"]
        for answers in answered
        for name in peers
        if "failed" in answers[name]
    }
    speeds = {n: _speed(counted, n) for n in (*own, *peers) if counted and n not in failed}
    best_peer = _fastest(speeds, peers)
    best_single = _fastest(speeds, [name for name in own if name != "controller"])

    def figures(name: str) -> dict[str, Any]:
        steps = sum(answers[name]["steps"] or 0 for answers in counted)
        return {
            "tokens_per_second": speeds.get(name),
            "over_base": _ratio(counted, name, "base"),
            "over_best_peer": _ratio(counted, name, best_peer),
            "tokens_per_step": _total(counted, name, "tokens") / steps if steps else None,
            "identical_answers": _total(answered, name, "same") / len(answered),
        }

    return {
        "best_peer": best_peer,
        "best_single": best_single,
        "controller_over_best_single": _ratio(counted, "controller", best_single),
        "contestants": {n: figures(n) for n in (*own, *peers) if n not in failed},
        "failed": failed,
    }


def _fastest(speeds: Mapping[str, float], among: Sequence[str]) -> str | None:
    return max((name for name in among if name in speeds), key=speeds.__getitem__, default=None)


def _total(answered: Sequence[Answers], name: str, what: str) -> float:
    return float(sum(answers[name][what] for answers in answered))


def _seconds(counted: Sequence[Answers], name: str) -> NDArray[np.float64]:
    """Return the seconds of each answer, scaled to the tokens of the base's answer."""
    return np.array(
        [
            a[name]["seconds"] * max(a["base"]["tokens"], 1) / max(a[name]["tokens"], 1)
            for a in counted
        ]
    )


def _speed(counted: Sequence[Answers], name: str) -> float:
    return _total(counted, "base", "tokens") / float(_seconds(counted, name).sum())


def _ratio(counted: Sequence[Answers], name: str, other: str | None) -> dict[str, Any] | None:
    """Return how many times as fast as another one it is, with the interval over the items."""
    if other is None or not counted:
        return None
    slow, fast = _seconds(counted, other), _seconds(counted, name)
    interval = bootstrap_ratio(slow, fast)
    return {
        "speed_ratio": float(slow.sum() / fast.sum()),
        "speed_interval": None if interval is None else list(interval),
    }
