"""Rows of a large matrix that stays in its file: those that are asked for are read, no others.

A row that is read through a mapped file brings a whole stretch of the file with it, up to two
megabytes, which then counts as memory of the process; an embedding would be held a second time
before long. So rows are read from the file into memory of their own (ours).
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, final

import torch
import torch.nn.functional as F

from rheostat.engines.mapped_pages import place_of
from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rheostat.engines.mapped_pages import Place


@final
class FileRows:
    """The rows of a matrix [n, width], in its file or, where it has none here, in memory."""

    def __init__(self, weight: torch.Tensor) -> None:
        """Open the file that the matrix is mapped from, if it is."""
        self._weight = weight
        place = place_of(weight) if weight.ndim == 2 else None
        self._file = None if place is None else _opened(place)
        self._start = 0 if place is None else place.offset
        if self._file is not None:
            weakref.finalize(self, os.close, self._file)

    def __call__(self, ids: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Return the rows of these ids, m of them: [m, width], on the matrix's device.

        Ids in a tensor are looked up by an operation of torch, through the mapped file where there
        is one: a captured step finds the next ones in the same tensor.

        Raises:
            IndexError: an id is not one of a row.
            ModelError: the file has been cut short since it was opened.
        """
        if self._file is None or isinstance(ids, torch.Tensor):
            held = self._weight
            return F.embedding(torch.as_tensor(ids, dtype=torch.int64, device=held.device), held)
        rows = self._room(len(ids))
        for row, index in zip(_bytes(rows), ids, strict=True):
            if not 0 <= index < len(self._weight):
                raise IndexError(f"there is no row {index} among {len(self._weight)}")
            self._read(row, index)
        return rows

    def block(self, start: int, stop: int) -> torch.Tensor:
        """Return neighbouring rows, from the file into memory of their own: [stop - start, width].

        Raises:
            ModelError: the file has been cut short since it was opened.
        """
        if self._file is None:
            return self._weight[start:stop]
        rows = self._room(stop - start)
        self._read(_bytes(rows).reshape(-1), start)
        return rows

    def _room(self, count: int) -> torch.Tensor:
        return torch.empty(count, self._weight.shape[1], dtype=self._weight.dtype)

    def _read(self, room: NDArray[np.uint8], index: int) -> None:
        """Fill room from a row on."""
        assert self._file is not None
        row = self._weight.shape[1] * self._weight.element_size()
        if os.preadv(self._file, [room.data], self._start + index * row) != len(room):
            raise ModelError(
                "the file of the model's weights was cut short while it was in use",
                hint="load the model again",
            )


def in_memory(held: torch.Tensor) -> torch.Tensor:
    """Return a copy in memory of its own, read from the tensor's file where it is mapped from one.

    So no page of the mapping comes into memory meanwhile.
    """
    rows = FileRows(held.view(1, -1)).block(0, 1).view(held.shape)
    return rows.clone() if rows.data_ptr() == held.data_ptr() else rows


def rows_of(held: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Return some rows of a tensor in memory; a view of them where they follow each other."""
    if rows and list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return held[rows[0] : rows[0] + len(rows)]
    return held[list(rows)]


def _bytes(rows: torch.Tensor) -> NDArray[np.uint8]:
    """Return the bytes of rows in memory, [n, bytes of a row]."""
    found: NDArray[np.uint8] = rows.view(torch.uint8).numpy()
    return found


def _opened(place: Place) -> int | None:
    """Return the open file of a place; None when another one has taken its name."""
    with suppress(OSError):
        file = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(file).st_ino == place.inode:
            return file
        os.close(file)
    return None
