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
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

_MAPS = Path("/proc/self/maps")
_DONT_NEED = 4
SUFFIX = ".safetensors"
"""Of the files whose pages are given back."""


class Place(NamedTuple):
    """Where the numbers of a tensor lie in the file that it is mapped from."""

    path: Path
    offset: int
    """Bytes before them."""
    inode: int
    """Of the file, by which another one that took its name since is told."""


class _Part(NamedTuple):
    """A part of a weight file that is mapped, at addresses from `low` to `high`."""

    low: int
    high: int
    place: Place
    """Of the part's first byte."""


def give_back(tensors: Iterable[torch.Tensor]) -> None:
    """Give back the whole pages of tensors that lie in a mapped file, and what is free beside."""
    if not sys.platform.startswith("linux"):
        return
    mapped = _mapped_files()
    libc = ctypes.CDLL(None, use_errno=True)
    held = [t for t in tensors if t.device.type == "cpu" and t.is_contiguous()]
    for start, end in _joined(map(_addresses, held)):
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end - end % mmap.PAGESIZE
        if first < last and any(part.low <= first and last <= part.high for part in mapped):
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _DONT_NEED)
    trim()  # what laying them out took meanwhile


def trim() -> None:
    """Give memory back that was freed and that the allocator keeps, where it can be told to."""
    with suppress(AttributeError, OSError, TypeError):  # glibc alone has such a call
        ctypes.CDLL(None).malloc_trim(0)


def place_of(tensor: torch.Tensor) -> Place | None:
    """Return where a tensor's numbers lie in a weight file; None = it is not mapped from one."""
    if not sys.platform.startswith("linux") or tensor.device.type != "cpu":
        return None
    start, end = _addresses(tensor)
    for part in _mapped_files():
        if part.low <= start and end <= part.high and tensor.is_contiguous():
            return part.place._replace(offset=part.place.offset + start - part.low)
    return None


def _addresses(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the address of a contiguous tensor's first byte, and of the one behind its last."""
    start = tensor.data_ptr()
    return start, start + tensor.numel() * tensor.element_size()


def _joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join stretches that lie behind each other: the page between two is neither's as a whole."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def _mapped_files() -> list[_Part]:
    """Return where weight files are mapped, neighbouring parts of one file joined."""
    found: list[_Part] = []
    for line in _MAPS.read_text("utf-8").splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) < 6 or not parts[5].removesuffix(" (deleted)").endswith(SUFFIX):
            continue
        low, high = (int(part, 16) for part in parts[0].split("-"))
        place = Place(Path(parts[5]), int(parts[2], 16), int(parts[4]))
        if found and _goes_on(found[-1], low, place):
            found[-1] = found[-1]._replace(high=high)
        else:
            found.append(_Part(low, high, place))
    return found


def _goes_on(part: _Part, low: int, place: Place) -> bool:
    """Return whether an address holds the same file's next byte: it may be mapped twice."""
    before, size = part.place, part.high - part.low
    return (part.high, before.inode, before.offset + size) == (low, place.inode, place.offset)
