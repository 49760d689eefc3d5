"""One process a folder: a lock file that only one can create, taken over when its owner is dead."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rheostat.engines.processes import alive, own_process
from rheostat.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; raise `OutputError` when another living process holds it."""
    lock = folder / LOCK
    while not _created(lock):
        _remove_stale(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _created(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(own_process())
    return True


def _remove_stale(lock: Path) -> None:
    owner = _read(lock)
    if owner is None:
        return
    if alive(owner):
        raise _in_use(lock, owner)
    # Two processes may find the same dead owner: only one of them can move its lock away, and
    # the slower one must not move away the new lock of the faster.
    aside = lock.with_name(f"{LOCK}-{secrets.token_hex(8)}")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    moved = _read(aside)
    if moved != owner:
        aside.rename(lock)
        raise _in_use(lock, moved or "")
    aside.unlink()


def _read(lock: Path) -> str | None:
    try:
        return lock.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None


def _in_use(lock: Path, owner: str) -> OutputError:
    pid = owner.partition(" ")[0]
    return OutputError(
        f"`{lock.parent}` is in use by another run" + (f" (process {pid})" if pid else ""),
        hint=f"wait for it or name another folder with `--out`; if none runs, delete `{lock}`",
    )
