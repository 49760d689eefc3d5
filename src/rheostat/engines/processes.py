"""Which process something belongs to, and whether that one is still there."""

from __future__ import annotations

import os
from pathlib import Path


def own_process() -> str:
    """Return this process's number and when it started: the same pair is never given twice."""
    return f"{os.getpid()} {_started(os.getpid())}"


def alive(owner: str) -> bool:
    """Return whether the process that `own_process` named is there; True where that is not told."""
    pid, _, started = owner.partition(" ")
    if not pid.isdecimal():
        return True  # its owner may be about to write its number
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # A number is given again, in a container soon: the same number may be another process.
    return started == _started(int(pid))


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty where that is not told."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]
