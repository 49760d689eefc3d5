"""The output head scanned in eight bits by a loop of our own, compiled from `head_scan.c`.

Every 32 weights of a row share a scale, as in Q8_0: a head that a file holds in that format is
scanned as it is, and only activations are rounded, to 15 bits for every 32 of them. So the bounds
of `torch_quick_head` are close, and a row seldom has more than one candidate (ours).
"""

from __future__ import annotations

import math
from ctypes import POINTER, Structure, byref, c_float, c_long, c_void_p
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple, final

import torch
from torch.profiler import record_function

from rheostat.engines.compiled_checks import found_right
from rheostat.engines.file_rows import FileRows, in_memory
from rheostat.engines.fused_build import fused_library
from rheostat.engines.kept_tensors import kept_tensors
from rheostat.engines.torch_level_ops import GROUP
from rheostat.engines.torch_quick_head import FLOAT32, MARGIN, MOST, Candidates
from rheostat.engines.torch_threads import on_threads

if TYPE_CHECKING:
    from pathlib import Path

_LANES, _QUADS, _QUAD = 16, 8, 4
_LEVELS = 127
SCAN_BYTES = 1 + 2 / GROUP
"""Bytes of a weight: its level, and its share of a scale."""
_BLOCK = 256
"""Rows that are brought to eight bits at once: what that takes meanwhile is a few megabytes."""


class GroupedHead(NamedTuple):
    """A head in eight bits."""

    levels: torch.Tensor
    """int8 [vocabulary, width], -127..127."""
    scale: torch.Tensor
    """float16 [vocabulary, width / 32]."""

    @staticmethod
    def of(weight: torch.Tensor) -> GroupedHead:
        """Bring a head float32 [vocabulary, width] to eight bits."""
        groups = weight.view(len(weight), -1, GROUP)
        scale = (groups.abs().amax(dim=2) / _LEVELS).clamp(2.0**-24, 60000.0).to(torch.float16)
        levels = (groups / scale.float()[:, :, None]).round_().clamp_(-_LEVELS, _LEVELS)
        return GroupedHead(levels.to(torch.int8).view(weight.shape), scale)

    def values(self) -> torch.Tensor:
        """Return the weights, float32 [vocabulary, width]."""
        groups = self.levels.view(len(self.levels), -1, GROUP)
        return (groups * self.scale.float()[:, :, None]).view(self.levels.shape)

    def packed(self) -> torch.Tensor:
        """Lay it out as `head_scan.c` wants it, uint8 [vocabulary / 16, width / 32, 544]."""
        blocks, groups = len(self.levels) // _LANES, self.scale.shape[1]
        parts = self.levels.view(blocks, _LANES, groups, _QUADS, _QUAD).permute(0, 2, 3, 1, 4)
        quads = parts.reshape(blocks, groups, -1).view(torch.uint8) ^ 128
        heads = self.scale.view(blocks, _LANES, groups).transpose(1, 2).contiguous()
        return torch.cat([heads.view(torch.uint8), quads], dim=2)


class _Bounds(Structure):
    _fields_ = (
        ("error", c_void_p),
        ("norm", c_void_p),
        *((name, c_float) for name in ("most_error", "most_norm", "sum")),
    )


@final
class ScanHead:
    """A head [vocabulary, width] in eight bits, and how far its rows are from the true ones."""

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype, kept: Path | None = None) -> None:
        """Bring the head to eight bits, where `scan_fits`.

        Args:
            weight: float32 [vocabulary, width].
            dtype: format of the true head, to which the weight is rounded first.
            kept: where what is made of it is kept; None = nowhere.
        """
        library = fused_library().library
        assert library is not None
        self._scan = library.head_scan
        self._scan.argtypes = (
            *(c_void_p, POINTER(_Bounds), *(c_void_p,) * 6),
            *(c_long,) * 5,
        )
        self._scan.restype = None
        vocabulary, width = weight.shape
        if kept is None:
            held = _in_eight_bits(weight, dtype)
        else:
            mapped = kept_tensors(kept, partial(_in_eight_bits, weight, dtype))
            held = {name: in_memory(tensor) for name, tensor in mapped.items()}
        self._packed, self._error, self._norm = held["packed"], held["error"], held["norm"]
        most_error, most_norm = held["most"].tolist()
        self._damaged = not math.isfinite(most_norm)
        self._bounds = _Bounds(
            self._error.data_ptr(),
            self._norm.data_ptr(),
            most_error,
            most_norm,
            FLOAT32 * width,
        )
        self._vocabulary, self._groups = vocabulary, width // GROUP
        self._near = torch.empty(0)
        """Memory for logits, kept because the system takes long to give it anew."""

    def candidates(self, x: torch.Tensor) -> Candidates:
        """As `QuickHead.candidates`."""
        if self._damaged:  # bounds that are no numbers exclude nothing
            none = torch.empty(0, dtype=torch.int64)
            return Candidates(none, none, list(range(len(x))))
        x = x.contiguous()
        n, groups, vocabulary = len(x), self._groups, self._vocabulary
        if self._near.numel() < n * vocabulary:
            self._near = torch.empty(n * vocabulary)
        held = torch.empty(2 * n * groups * GROUP, dtype=torch.int8)
        numbers = torch.empty(4 * n * groups, dtype=torch.int32)
        tokens = torch.empty(n, MOST, dtype=torch.int64)
        counts = torch.empty(n, dtype=torch.int64)
        places = (x, self._near, held, numbers, tokens, counts)
        given = (
            *(self._packed.data_ptr(), byref(self._bounds), *(p.data_ptr() for p in places)),
            *(n, groups, vocabulary, MOST),
        )
        with record_function("rheostat::head_scan"):
            on_threads(
                f"scan {vocabulary} {groups}", n, lambda threads: self._scan(*given, threads)
            )
        found: list[int] = counts.tolist()
        kept = torch.cat([tokens[row, :count] for row, count in enumerate(found)])
        rows = torch.tensor([row for row, count in enumerate(found) for _ in range(count)])
        return Candidates(rows.long(), kept, [row for row, count in enumerate(found) if not count])


def _in_eight_bits(weight: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return a head in eight bits, packed, and for each row bounds: how far it is, how long.

    `most` holds the largest of either; of numbers one of which is none it is none.
    """
    vocabulary, width = weight.shape
    cell = _LANES * (2 + GROUP)
    packed = torch.empty(vocabulary // _LANES, width // GROUP, cell, dtype=torch.uint8)
    error, norm = torch.empty(vocabulary), torch.empty(vocabulary)
    read = FileRows(weight)
    for at in range(0, vocabulary, _BLOCK):
        rows = slice(at, min(at + _BLOCK, vocabulary))
        true = read.block(rows.start, rows.stop).to(dtype).float()
        held = GroupedHead.of(true)
        packed[rows.start // _LANES : rows.stop // _LANES] = held.packed()
        lost = held.values().sub_(true)
        error[rows] = MARGIN * torch.linalg.vector_norm(lost, dim=1)
        norm[rows] = MARGIN * torch.linalg.vector_norm(true, dim=1)
    most = torch.stack([error.max(), norm.max()])
    return {"packed": packed, "error": error, "norm": norm, "most": most}


def scan_fits(weight: torch.Tensor) -> bool:
    """Return whether a head [vocabulary, width] can be scanned so, and rightly."""
    vocabulary, width = weight.shape
    fits = vocabulary % _LANES == 0 and width % GROUP == 0
    return fits and _scan_is_right()


@cache
def _scan_is_right() -> bool:
    return found_right("head", _agrees)


@torch.inference_mode()
def _agrees() -> bool:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(8 * _LANES, 3 * GROUP, generator=draw)
    x = torch.randn(6, 3 * GROUP, generator=draw)
    head = ScanHead(weight, torch.float32)
    found = head.candidates(x)
    wanted = (x.double() @ weight.double().t()).argmax(dim=1)
    pairs = set(zip(found.rows.tolist(), found.tokens.tolist(), strict=True))
    near = head._near[: len(x) * len(weight)].view(len(x), -1)
    held = GroupedHead.of(weight).values()
    return (
        not found.open
        and pairs >= set(enumerate(wanted.tolist()))
        and torch.allclose(near, x @ held.t(), atol=1e-2)
    )
