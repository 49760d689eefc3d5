"""The folder where fetched and converted models are kept, and safe writing into it.

`RHEOSTAT_CACHE`, else `XDG_CACHE_HOME/rheostat`, else `~/.cache/rheostat`. A file appears there
whole or not at all, so two processes that start at once never read each other's half-written work.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rheostat.engines.processes import alive, own_process
from rheostat.errors import ModelError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def cache_folder() -> Path:
    """Return the cache folder of this user; it need not exist yet."""
    own = os.environ.get("RHEOSTAT_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "rheostat"


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Turn a full disk, missing rights and the like into an `OutputError` about `target`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"`{target}` cannot be written: {error.strerror or error}",
            hint="free some space, or set RHEOSTAT_CACHE to another folder",
        ) from error


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, moved into place when the block ends well.

    What a killed process left of its own is removed by the next one that writes into the folder.
    """
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_dead(target.parent)
        partial = target.with_name(_partial_name())
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in another one, for work under way; it is gone when the block ends.

    What a killed process left of its own is removed by the next one, as of `whole_file`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _clear_dead(parent)
    folder = parent / _partial_name()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _partial_name() -> str:
    owner = own_process().replace(" ", "-")
    return f"{_partial_of_here()}{owner}-{secrets.token_hex(8)}"


def _partial_of_here() -> str:
    """Return how the names of this machine's temporary files begin."""
    return f".partial-{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"


def _clear_dead(folder: Path) -> None:
    """Remove what processes of this machine that were killed left in a folder."""
    head = _partial_of_here()
    for path in folder.glob(f"{head}*"):
        pid, _, rest = path.name.removeprefix(head).partition("-")
        if alive(f"{pid} {rest.partition('-')[0]}"):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file; it is read again only when its size or time has changed."""
    path = path.resolve()
    try:
        stat = path.stat()
        seen = {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
        stamp = cache_folder() / "stamps" / f"{name}.json"
        known = _stamped(stamp, seen)
        if known is not None:
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"`{path}` cannot be read: {error.strerror or error}") from error
    with whole_file(stamp) as partial:
        partial.write_text(json.dumps({**seen, "digest": digest}), encoding="utf-8")
    return digest


def _stamped(stamp: Path, seen: dict[str, object]) -> str | None:
    """Return the digest that a stamp holds for a file in this state, if it holds one."""
    try:
        held = json.loads(stamp.read_text(encoding="utf-8"))
        digest = held.pop("digest")
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return str(digest) if held == seen else None
