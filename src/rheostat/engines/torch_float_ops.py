"""Our own product in float32 with weights of 32 or 16 bits, compiled from `float_product.c`.

One layout serves any number of rows: a single row reads the weights about as fast as memory gives
them, and many rows are multiplied by parts of it that stay in a cache. Weights of bfloat16 are
widened in registers, or multiplied in pairs where x has 16 bits as well and the processor can, so
that nothing wider is held; sums are float32. Every row's product is the same, bit by bit, whatever
its neighbours are (ours).
"""

from __future__ import annotations

import ctypes
from ctypes import c_long, c_void_p
from functools import cache, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.profiler import record_function

from rheostat.engines.compiled_checks import found_right
from rheostat.engines.fused_build import fused_library
from rheostat.engines.mapped_pages import give_back
from rheostat.engines.torch_threads import on_threads

PANEL = 48
"""Rows of a matrix that lie together, as `float_product.c` wants them."""
_BLOCK = 128 * PANEL
"""Rows that are laid out at once."""


class FloatOps(NamedTuple):
    """The compiled library, or why there is none."""

    library: ctypes.CDLL | None
    reason: str = ""


@cache
def float_ops() -> FloatOps:
    """Return the library where it can be had and its product is right."""
    built = fused_library()
    if built.library is None:
        return FloatOps(None, built.reason)
    built.library.float_product.argtypes = (*(c_void_p,) * 3, *(c_long,) * 6)
    built.library.float_product.restype = None
    if not found_right("products", partial(_agrees, built.library)):
        return FloatOps(None, "the compiled product does not agree with torch's")
    return FloatOps(built.library)


def in_panels(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Lay a matrix out as `float_product.c` wants it.

    Pages of a mapped file are given back as soon as they were read.

    Args:
        weight: [out, in].
        dtype: float32 or bfloat16, of what is held.

    Returns:
        A tensor of that shape and format whose numbers lie in the order of panels; what fills the
        last of them lies behind, in the same memory.
    """
    out, size = weight.shape
    pairs = 2 if dtype == torch.bfloat16 else 1
    steps, panels = -(-size // pairs), -(-out // PANEL)
    held = torch.zeros(panels, steps, PANEL, pairs, dtype=dtype)
    for at in range(0, out, _BLOCK):
        block = weight[at : at + _BLOCK]
        missing = -len(block) % PANEL
        filled = F.pad(block.to(dtype), (0, steps * pairs - size, 0, missing))
        parts = filled.view(-1, PANEL, steps, pairs).transpose(1, 2)
        held[at // PANEL :][: len(parts)] = parts
        if out > _BLOCK:
            give_back([block])
    return held.view(-1)[: out * size].view(out, size)


def float_product(
    x: torch.Tensor, held: torch.Tensor, to: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return x [n, in] times a transposed matrix in panels: [n, out].

    Args:
        x: float32 or bfloat16.
        held: what `in_panels` gave.
        to: float32, or bfloat16 to which the sums are rounded.
    """
    library = float_ops().library
    assert library is not None
    if not torch.autograd.profiler._is_profiler_enabled:  # a mark costs more than a small product
        return _multiplied(library, x, held, to)
    with record_function("rheostat::float_product"):
        return _multiplied(library, x, held, to)


def _multiplied(
    library: ctypes.CDLL, x: torch.Tensor, held: torch.Tensor, to: torch.dtype = torch.float32
) -> torch.Tensor:
    half = held.dtype == torch.bfloat16
    width, size = held.shape
    pairs = half and x.dtype == torch.bfloat16
    x = x if pairs else x.float()
    if half and size % 2:
        x, size = F.pad(x, (0, 1)), size + 1
    kind = half + pairs
    x = x.contiguous()
    out = torch.empty(len(x), width, dtype=to)
    narrow = to == torch.bfloat16
    given = (held.data_ptr(), x.data_ptr(), out.data_ptr(), len(x), size, width, kind, narrow)
    on_threads(
        f"float {kind} {narrow} {size} {width}",
        len(x),
        lambda threads: library.float_product(*given, threads),
    )
    return out


@torch.inference_mode()
def _agrees(library: ctypes.CDLL) -> bool:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(2 * PANEL + 5, 31, generator=draw)
    x = torch.randn(11, 31, generator=draw)
    wide, narrow = torch.float32, torch.bfloat16
    for held, given in ((wide, wide), (narrow, wide), (narrow, narrow)):
        true, own = weight.to(held).double().t(), x.to(given)
        bound = 1e-5 * (own.abs().double() @ true.abs())
        found = _multiplied(library, own, in_panels(weight, held))
        if not ((found - own.double() @ true).abs() <= bound).all():
            return False
        if not torch.equal(
            _multiplied(library, own, in_panels(weight, held), narrow), found.bfloat16()
        ):
            return False
    return True
