"""Whether memory is enough: asked before weights are laid out, and told where it runs out."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rheostat.errors import MemoryShortError, ModelError, RheostatError

try:
    import resource
except ModuleNotFoundError:  # a system without such limits
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rheostat.kernel.model_cost import ModelShape

    class _Held(Protocol):
        """A cache of keys and values."""

        @property
        def entries(self) -> int: ...
        @property
        def bytes(self) -> int: ...


_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_TAKEN = Path("/proc/self/statm")
NARROWER: Mapping[str, str] = {"float32": "bfloat16", "reproducible": "layercast"}
"""Number formats of half the size."""
ROOM = 1.1
"""What is taken beside the weights, as a multiple of them."""
SMALLEST = 5e7
"""What is less is told in millions."""
_SHORT = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc")
"""What the errors of libraries say, whatever their kind, when memory runs out."""


def check_memory(name: str, shape: ModelShape, dtype: str, bytes_each: int) -> None:
    """Raise `ModelError` when the weights cannot fit; where free memory is not known, do nothing.

    Args:
        name: what the user called the model.
        shape: the model's.
        dtype: the number format by its name.
        bytes_each: bytes of a weight in it.
    """
    check_room(name, weights(shape), dtype, bytes_each)


def check_room(name: str, count: int, dtype: str, bytes_each: int) -> None:
    """As `check_memory`, of a model with so many weights."""
    free = free_bytes()
    needed = ROOM * bytes_each * count
    if free is None or needed <= free:
        return
    half = NARROWER.get(dtype)
    fits = half is not None and needed / 2 <= free
    raise ModelError(
        f"`{name}` needs about {in_words(needed)} of memory in {dtype}, and {in_words(free)} are "
        "free",
        hint=f"in `--dtype {half}` it needs about {in_words(needed / 2)}"
        if fits
        else f"a model of about {_many(free / (ROOM * bytes_each))} weights would fit in {dtype}",
    )


@contextmanager
def memory_told(what: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Raise `MemoryShortError` where memory runs out inside.

    Args:
        what: returns the sentence that says what was being held, and the hint.
    """
    try:
        yield
    except Exception as error:
        if not is_short(error):
            raise
        message, hint = what()
        raise MemoryShortError(message, hint=hint) from error


def is_short(error: BaseException) -> bool:
    """Return whether an error says that memory has run out, whichever library raised it."""
    if isinstance(error, RheostatError):
        return False  # it is told already
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error).lower() for words in _SHORT)


def loading_told(name: str, dtype: str | None) -> tuple[str, str]:
    """Return sentence and hint for memory that runs out while a model is loaded."""
    half = NARROWER.get(dtype or "")
    hint = f"load it in `--dtype {half}`, or " if half else ""
    return (
        f"memory ran out while `{name}` was loaded{f' in {dtype}' if dtype else ''}{_left()}",
        f"{hint}load a smaller model, or free memory on this machine",
    )


def row_told(tokens: int, each: int) -> tuple[str, str]:
    """Return sentence and hint for a cache of so many tokens, of so many bytes each."""
    free = free_bytes()
    fit = "" if free is None else f"about {free // max(each, 1)} tokens would fit: "
    return (
        f"there is no memory for the keys and values of {tokens} more tokens, "
        f"{in_words(tokens * each)}{_left()}",
        f"{fit}{FEWER}",
    )


def pass_told(caches: Sequence[_Held], read: int) -> tuple[str, str]:
    """Return sentence and hint for a pass over so many new tokens that does not fit."""
    rows, held, size = len(caches), sum(c.entries for c in caches), sum(c.bytes for c in caches)
    those = "a row" if rows == 1 else f"{rows} rows"
    return (
        f"memory ran out in a pass over {read} new tokens of {those}, beside the weights and the "
        f"keys and values of {held} tokens, {in_words(size)}{_left()}",
        FEWER,
    )


FEWER = (
    "run fewer rows side by side, ask for fewer new tokens, shorten the prompt, or load the model "
    "in a narrower format such as `--dtype bfloat16`"
)


def _left() -> str:
    free = free_bytes()
    return "" if free is None else f"; {in_words(free)} are free"


def weights(shape: ModelShape) -> int:
    """Return the number of a model's weights, norms and biases left out."""
    layers = shape.layers * (shape.attention_weights + shape.mlp_weights)
    return layers + (1 if shape.tied else 2) * shape.head_weights


def free_bytes() -> int | None:
    """Return the memory that this process may still take; None = not known on this system."""
    each = _free_of_machine(), _free_of_group(), _free_of_limit()
    return min((free for free in each if free is not None), default=None)


def _free_of_machine() -> int | None:
    try:
        lines = _MEMORY.read_text("utf-8").splitlines()
    except OSError:
        return None
    free = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(free[0]) if free else None


def _free_of_group() -> int | None:
    """Return what the control group that this process runs in leaves; None = it sets no limit."""
    try:
        most = (_GROUP / "memory.max").read_text("utf-8").strip()
        taken = int((_GROUP / "memory.current").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(int(most) - taken, 0)


def _free_of_limit() -> int | None:
    """Return what the limit on this process's addresses leaves; None = there is none."""
    if resource is None:
        return None
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(_TAKEN.read_text("utf-8").split()[0])
    except (OSError, ValueError):
        return None
    return max(most - pages * os.sysconf("SC_PAGE_SIZE"), 0)


def in_words(size: float) -> str:
    """Return bytes as a person says them."""
    return f"{size / 1e9:.1f} GB" if size >= SMALLEST else f"{size / 1e6:.1f} MB"


def _many(count: float) -> str:
    return f"{count / 1e9:.1f} billion" if count >= SMALLEST else f"{count / 1e6:.1f} million"
