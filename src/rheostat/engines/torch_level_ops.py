"""Our own product with four-bit matrices, compiled from `level_product.h`.

Activations are rounded to 15 bits for every 32 of them, and sums within such a group are whole
numbers (ours; llama.cpp rounds to 8 bits). Scale and low are the file's own 16-bit numbers.
"""

from __future__ import annotations

import ctypes
from ctypes import c_long, c_void_p
from functools import cache, partial
from typing import NamedTuple

import torch
from torch.profiler import record_function

from rheostat.engines.compiled_checks import found_right
from rheostat.engines.fused_build import fused_library
from rheostat.engines.torch_threads import on_threads

GROUP = 32
"""Weights that share a scale."""
_LANES, _QUADS, _QUAD = 16, 4, 4


class LevelOps(NamedTuple):
    """The compiled library, or why there is none."""

    library: ctypes.CDLL | None
    reason: str = ""


@cache
def level_ops() -> LevelOps:
    """Return the library where it can be had and its product is right."""
    built = fused_library()
    if built.library is None:
        return LevelOps(None, built.reason)
    built.library.level_product.argtypes = (*(c_void_p,) * 3, *(c_long,) * 4)
    if not found_right("four-bits", partial(_agrees, built.library)):
        return LevelOps(None, "the compiled four-bit product does not agree with torch's")
    return LevelOps(built.library)


def packed(levels: torch.Tensor, scale: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Lay a matrix out as `level_product.h` wants it.

    Args:
        levels: uint8 [out, in], 0..15.
        scale, low: float32 [out, in / 32], numbers of 16 bits.

    Returns:
        uint8 [out / 16, in / 32, 320].
    """
    out, size = levels.shape
    blocks, groups = out // _LANES, size // GROUP
    parts = levels.view(blocks, _LANES, groups, 2, _QUADS, _QUAD)
    first, second = parts.permute(3, 0, 2, 4, 1, 5)
    quads = (first | (second << 4)).reshape(blocks, groups, -1)
    heads = [
        field.view(blocks, _LANES, groups).transpose(1, 2).to(torch.float16).contiguous()
        for field in (scale, low)
    ]
    return torch.cat([*(head.view(torch.uint8) for head in heads), quads], dim=2).contiguous()


class Levels(NamedTuple):
    """A matrix [out, in] in four bits: weight = scale x level + low."""

    levels: torch.Tensor
    """uint8 [out, in], 0..15."""
    scale: torch.Tensor
    """float32 [out, in / 32]."""
    low: torch.Tensor
    """float32 [out, in / 32]."""

    def values(self) -> torch.Tensor:
        """Return the weights, float32 [out, in]."""
        scale, low = (t.repeat_interleave(GROUP, dim=1) for t in (self.scale, self.low))
        return self.levels * scale + low


def shape_of(matrix: torch.Tensor) -> tuple[int, int]:
    """Return the shape [out, in] of a packed matrix."""
    blocks, groups, _ = matrix.shape
    return blocks * _LANES, groups * GROUP


def unpacked(matrix: torch.Tensor) -> Levels:
    """Return what was packed."""
    out, size = shape_of(matrix)
    blocks, groups, _ = matrix.shape
    heads = matrix[..., : 4 * _LANES].contiguous().view(torch.float16).float()
    fields = heads.view(blocks, groups, 2, _LANES).permute(2, 0, 3, 1).reshape(2, out, groups)
    quads = matrix[..., 4 * _LANES :].view(blocks, groups, _QUADS, _LANES, _QUAD)
    parts = torch.stack([quads & 15, quads >> 4])
    return Levels(parts.permute(1, 4, 2, 0, 3, 5).reshape(out, size), *fields)


def product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return x float32 [n, in] times a transposed packed matrix: [n, out]."""
    library = level_ops().library
    assert library is not None
    with record_function("rheostat::level_product"):
        return _multiplied(library, x, matrix)


def _multiplied(library: ctypes.CDLL, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    x = x.contiguous()
    n, size = x.shape
    out = torch.empty(n, len(matrix) * _LANES)
    given = (matrix.data_ptr(), x.data_ptr(), out.data_ptr(), n, size, out.shape[1])
    status = on_threads(
        f"product {size} {out.shape[1]}", n, lambda threads: library.level_product(*given, threads)
    )
    if status:
        raise MemoryError("there is no memory for a product")
    return out


@torch.inference_mode()
def _agrees(library: ctypes.CDLL) -> bool:
    draw = torch.Generator().manual_seed(0)
    out, size = 2 * _LANES, 3 * GROUP
    levels = torch.randint(0, 16, (out, size), generator=draw, dtype=torch.uint8)
    scale, low = torch.randn(2, out, size // GROUP, generator=draw).half().float()
    weight = levels * scale.repeat_interleave(GROUP, 1) + low.repeat_interleave(GROUP, 1)
    x = torch.randn(3, size, generator=draw)
    wanted = x.double() @ weight.double().t()
    bound = x.abs().double() @ weight.abs().double().t()
    return bool(
        ((_multiplied(library, x, packed(levels, scale, low)) - wanted).abs() <= 1e-4 * bound).all()
    )
