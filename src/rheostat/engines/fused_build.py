"""Compile the C files once a machine and load them; where that fails there is a reason instead.

The library is kept in the cache folder under the digest of source, compiler options and machine.
Relaxed float arithmetic is asked for when compiling and not when linking, where it would change
the rounding mode of the whole process.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.engines.machine import instruction_sets, machine
from rheostat.errors import OutputError

SOURCES = tuple(
    Path(__file__).with_name(name)
    for name in (
        "fused_ops.c",
        "attend_rows.c",
        "draw_rows.c",
        "float_product.c",
        "level_step.c",
        "head_scan.c",
        "team.c",
    )
)
HEADERS = tuple(
    Path(__file__).with_name(name)
    for name in ("attention.h", "byte_rows.h", "formats.h", "level_product.h", "team.h")
)
OPTIONS = ("-O3", "-ffast-math", "-fno-reciprocal-math", "-fPIC", "-pthread")
TUNED = ("-march=native", "-mcpu=native", "")
"""Options that name this processor, of which a compiler may know none."""
LIMIT = 120.0
"""Seconds after which a compiler is given up."""


class Built(NamedTuple):
    """A loaded library, or why there is none."""

    library: ctypes.CDLL | None
    reason: str = ""
    path: Path | None = None
    """Where it lies; the name stands for its source, compiler and processor."""


@cache
def fused_library() -> Built:
    """Return the library, compiled when this machine has none yet."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if os.environ.get("RHEOSTAT_FUSED") == "0":
        return Built(None, "RHEOSTAT_FUSED is 0")
    sources = [path.read_text(encoding="utf-8") for path in (*SOURCES, *HEADERS)]
    key = [*sources, *OPTIONS, *compiler, machine().name, instruction_sets()]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    path = cache_folder() / "fused" / f"{digest}.so"
    if not path.exists():
        if shutil.which(compiler[0]) is None:
            return Built(None, f"there is no C compiler `{compiler[0]}`")
        reason = _compiled(compiler, path)
        if reason:
            return Built(None, reason)
    try:
        return Built(ctypes.CDLL(str(path)), path=path)
    except OSError as error:
        return Built(None, f"the compiled library does not load: {error}")


def _compiled(compiler: list[str], path: Path) -> str:
    """Compile the library to a path; return why that failed, empty when it did not."""
    said = ""
    for tuned in TUNED:
        try:
            with whole_file(path) as partial:
                made = [partial.with_suffix(f".{source.stem}.o") for source in SOURCES]
                options = [*OPTIONS, *filter(None, [tuned])]
                try:
                    each = (
                        [*compiler, *options, "-c", "-o", str(to), str(source)]
                        for source, to in zip(SOURCES, made, strict=True)
                    )
                    with ThreadPoolExecutor() as pool:
                        list(pool.map(_run, each))
                    _run(
                        [
                            *compiler,
                            "-shared",
                            "-o",
                            str(partial),
                            *map(str, made),
                            "-lm",
                            "-pthread",
                        ]
                    )
                finally:
                    for to in made:
                        to.unlink(missing_ok=True)
        except subprocess.CalledProcessError as error:
            said = f"`{compiler[0]}` failed: {_last_line(error.stderr)}"
        except (subprocess.TimeoutExpired, OSError, OutputError) as error:
            return f"`{compiler[0]}` gave nothing: {error}"
        else:
            return ""
    return said


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT)


def _last_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1] if lines else "no message"
