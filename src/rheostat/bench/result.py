"""The envelope of a result file: what was asked, on what machine, with which versions."""

from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from rheostat.engines.cache_folder import whole_file
from rheostat.stages.profile import machine_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def envelope(suite: str, question: str, *, seed: int) -> dict[str, Any]:
    """Return the head of a result file."""
    return {
        "suite": suite,
        "question": question,
        "command": f"rheostat bench {suite}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seed": seed,
        "machine": machine_facts() | {"torch_threads": torch.get_num_threads()},
    }


def write_result(result: Mapping[str, Any], out: Path) -> Path:
    """Write `SUITE.json` into the folder and return its path."""
    path = out / f"{result['suite']}.json"
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, smallest and largest of repeated measurements, and their number."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "repeats": len(values),
    }
