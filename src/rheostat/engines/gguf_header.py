"""A walk over a GGUF header that finds damage before the file is parsed.

The `gguf` library trusts every count in the file: one flipped bit in a length can keep it busy
for hours or fill the memory. The walk reads lengths and types alone and stays inside the file.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from pathlib import Path

_VERSIONS = (2, 3)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4


def check_gguf_header(path: Path) -> None:
    """Raise `ValueError` in words when the file is no GGUF or its header is damaged."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError("it does not start with the letters GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Walk(data).header()


@final
class _Walk:
    """A position in the file that moves forward and never leaves it."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4

    def header(self) -> None:
        version = self._number("<I", 4)
        if version not in _VERSIONS:
            raise ValueError(f"its version is {version}, not one of {_VERSIONS}")
        tensors, entries = self._number("<Q", 8), self._number("<Q", 8)
        for _ in range(entries):
            self._string()
            self._value(self._number("<I", 4))
        for _ in range(tensors):
            self._string()
            dimensions = self._number("<I", 4)
            if dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor has {dimensions} dimensions")
            self._skip(8 * dimensions + 4 + 8)

    def _value(self, kind: int) -> None:
        if kind == _ARRAY:
            item, count = self._number("<I", 4), self._number("<Q", 8)
            if item == _STRING:
                for _ in range(count):
                    self._string()
                return
            kind = item
        else:
            count = 1
        if kind == _STRING:
            self._string()
        elif kind in _SIZES:
            self._skip(count * _SIZES[kind])
        else:
            raise ValueError(f"a value has the unknown type {kind}")

    def _string(self) -> None:
        self._skip(self._number("<Q", 8))

    def _number(self, form: str, size: int) -> int:
        self._skip(size)
        value: int = struct.unpack_from(form, self._data, self._at - size)[0]
        return value

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise ValueError("it ends inside its header")
