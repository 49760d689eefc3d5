"""Measurements of a model on this machine, kept in the cache folder: weight forms and prices."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.engines.device import CPU
from rheostat.engines.fused_build import fused_library
from rheostat.engines.machine import machine
from rheostat.engines.notice import Notice
from rheostat.engines.torch_matrix import Forms
from rheostat.errors import OutputError
from rheostat.kernel.model_cost import PriceTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from rheostat.engines.torch_matrix import FormName
    from rheostat.engines.torch_ways import Way

FORMAT = 12
"""Version of the cached measurements."""


class Known(NamedTuple):
    """What was measured."""

    forms: Forms
    prices: PriceTable
    ways: Mapping[Way, PriceTable] = {}
    """Those of the other ways in which layers run that were asked for."""


def measurements_path(digest: str, dtype: str, device: torch.device = CPU) -> Path:
    """Return where this machine's measurements of a model, format and thread count are kept."""
    key = [FORMAT, machine().name, torch.__version__, torch.get_num_threads(), digest, dtype]
    key.append(fused_library().library is not None)
    if device != CPU:
        key.append(str(device))
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache_folder() / "measurements" / f"{name}.json"


def keep_known(path: Path, known: Known, progress: Callable[[str], None] | None) -> None:
    """Write measurements; where the disk is full the model runs all the same, and that is said."""
    measured = {
        "forms": known.forms.to_json(),
        "prices": known.prices.to_json(),
        "ways": {way: table.to_json() for way, table in known.ways.items()},
    }
    try:
        with whole_file(path) as partial:
            partial.write_text(json.dumps(measured), encoding="utf-8")
    except OutputError as error:
        if progress is not None:
            again = "what was measured is measured again next time"
            progress(Notice(f"{error.message}: {again}"))


def read_known(path: Path, forms: Collection[FormName]) -> Known | None:
    """Return cached measurements in these forms; None when there are none or they are damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ways = {way: PriceTable.from_json(table) for way, table in data["ways"].items()}
        known = Known(Forms.from_json(data["forms"]), PriceTable.from_json(data["prices"]), ways)
        whole = all(map(_whole, (known.prices, *ways.values())))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    usable = {known.forms.narrow, known.forms.wide} <= set(forms)
    return known if usable and whole else None


def _whole(table: PriceTable) -> bool:
    seconds = table.seconds(2, 2, attention=1, mlp=1, head_rows=1)
    rows = (*table.attention, table.mlp)
    return all(len(row) == len(table.tokens) for row in rows) and 0 < seconds < math.inf
