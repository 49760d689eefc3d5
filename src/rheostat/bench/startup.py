"""Suite `startup`: what importing Rheostat and starting a model a second time cost."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from rheostat.bench.result import envelope, spread
from rheostat.engines.embedded import EMBEDDED, embedded_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.bench.journal import Journal

REPEATS = 7
IMPORT = """
import time
start = time.perf_counter()
import rheostat
print(time.perf_counter() - start)
"""
START = """
import time
import rheostat.engines.torch_load, torch
start = time.perf_counter()
rheostat.engines.torch_load.load_torch({model}, dtype="{dtype}")
print(time.perf_counter() - start)
"""
LOADED = """
import sys
import rheostat
print(float(any(name in sys.modules for name in ("torch", "numpy", "matplotlib"))))
"""


def bench_startup(
    say: Callable[[str], None],
    journal: Journal,
    *,
    model: str = "smollm2",
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Measure in fresh processes: `import rheostat`, and a second start beyond the imports."""
    if model in EMBEDDED:
        embedded_file(EMBEDDED[model], progress=say)
    result = envelope("startup", "how long until one can work?", seed=0)
    result["import_loads_torch_or_numpy"] = bool(_seconds(LOADED))
    say("importing rheostat in fresh processes")
    result["import_seconds"] = journal.part(
        "import", lambda: spread([_seconds(IMPORT) for _ in range(repeats)])
    )
    for dtype in ("float32", "bfloat16"):
        program = START.format(model=repr(model), dtype=dtype)
        say(f"starting {model} in {dtype} in fresh processes")
        result[f"second_start_seconds_{dtype}"] = journal.part(
            dtype, partial(_second_starts, program, repeats)
        )
    return result


def _second_starts(program: str, repeats: int) -> dict[str, Any]:
    _seconds(program)  # the first start fetches, converts and measures
    return spread([_seconds(program) for _ in range(repeats)])


def _seconds(program: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])
