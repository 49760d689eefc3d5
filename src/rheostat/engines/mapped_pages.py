"""Pages of mapped weight files are given back once their numbers are laid out elsewhere.

A mapped file counts as memory of the process as far as it was read. What was copied into another
form is not read again soon: its pages go back to the system, which reads them anew if they are
asked for. Other memory is left alone.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

_MAPS = Path("/proc/self/maps")
_DONT_NEED = 4
SUFFIX = ".safetensors"
"""Of the files whose pages are given back."""


def give_back(tensors: Iterable[torch.Tensor]) -> None:
    """Give back the whole pages of tensors that lie in a mapped file, and what is free beside."""
    if not sys.platform.startswith("linux"):
        return
    mapped = _mapped_files()
    libc = ctypes.CDLL(None, use_errno=True)
    for tensor in tensors:
        if tensor.device.type != "cpu":
            continue
        start = tensor.data_ptr()
        end = start + tensor.numel() * tensor.element_size()
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end - end % mmap.PAGESIZE
        inside = any(low <= first and last <= high for low, high in mapped)
        if tensor.is_contiguous() and first < last and inside:
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _DONT_NEED)
    with suppress(AttributeError):  # a C library other than glibc has no such call
        libc.malloc_trim(0)  # what laying them out took meanwhile


def _mapped_files() -> list[tuple[int, int]]:
    """Return where weight files are mapped, neighbouring parts of one file joined."""
    found: list[tuple[int, int]] = []
    for line in _MAPS.read_text("utf-8").splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].removesuffix(" (deleted)").endswith(SUFFIX):
            low, high = (int(part, 16) for part in parts[0].split("-"))
            if found and found[-1][1] == low:
                found[-1] = found[-1][0], high
            else:
                found.append((low, high))
    return found
