"""What machine this is: the part of a result that decides its seconds."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, as far as costs depend on it."""

    name: str
    """Processor, its instruction sets that matter, and the cores this process may use."""
    cpu: str
    cores: int
    memory_gib: float
    os: str
    python: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@cache
def machine() -> Machine:
    """Describe this machine; read once a process."""
    lines = _cpu_lines()
    cpu = lines.get("model name", platform.processor() or platform.machine())
    flags = set(lines.get("flags", "").split())
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in flags]
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return Machine(
        name=f"{cpu} ({', '.join([*units, f'{cores} cores'])})",
        cpu=cpu,
        cores=cores,
        memory_gib=round(_memory_bytes() / 2**30, 1),
        os=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        python=platform.python_version(),
    )


def instruction_sets() -> str:
    """Return all that this processor says it can do; empty where the system does not tell."""
    lines = _cpu_lines()
    return " ".join(sorted(lines.get("flags", lines.get("Features", "")).split()))


def _cpu_lines() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
