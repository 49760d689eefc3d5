"""Whether a model's weights fit into the memory that is free, asked before they are laid out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.model_cost import ModelShape

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
NARROWER: Mapping[str, str] = {"float32": "bfloat16", "reproducible": "layercast"}
"""Number formats of half the size."""
ROOM = 1.1
"""What is taken beside the weights, as a multiple of them."""


def check_memory(name: str, shape: ModelShape, dtype: str, bytes_each: int) -> None:
    """Raise `ModelError` when the weights cannot fit; where free memory is not known, do nothing.

    Args:
        name: what the user called the model.
        shape: the model's.
        dtype: the number format by its name.
        bytes_each: bytes of a weight in it.
    """
    free = free_bytes()
    needed = ROOM * bytes_each * weights(shape)
    if free is None or needed <= free:
        return
    half = NARROWER.get(dtype)
    fits = half is not None and needed / 2 <= free
    raise ModelError(
        f"`{name}` needs about {_words(needed)} of memory in {dtype}, and {_words(free)} are free",
        hint=f"in `--dtype {half}` it needs about {_words(needed / 2)}"
        if fits
        else "a model of about "
        f"{free / (ROOM * bytes_each) / 1e9:.1f} billion weights would fit in {dtype}",
    )


def weights(shape: ModelShape) -> int:
    """Return the number of a model's weights, norms and biases left out."""
    layers = shape.layers * (shape.attention_weights + shape.mlp_weights)
    return layers + (1 if shape.tied else 2) * shape.head_weights


def free_bytes() -> int | None:
    """Return the memory that this process may still take; None = not known on this system."""
    found = [free for free in (_free_of_machine(), _free_of_group()) if free is not None]
    return min(found, default=None)


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


def _words(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
