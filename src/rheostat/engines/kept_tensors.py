"""Weights laid out once and kept in a file of the cache, from which later starts map them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch


def kept_path(digest: str, what: str) -> Path:
    """Return where a form of a model's weights is kept.

    Args:
        digest: of the model's files.
        what: the form and its version.
    """
    return cache_folder() / "weights" / f"{digest}-{what}.safetensors"


def kept_tensors(
    path: Path, make: Callable[[], dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, mapped; made and written where it is missing or damaged.

    Where they cannot be written, on a full disk, they are those that were made.
    """
    with suppress(OSError, SafetensorError):
        return load_file(path)
    made = make()
    with suppress(OutputError), whole_file(path) as partial:
        save_file(made, partial)
    return made
