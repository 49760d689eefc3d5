"""Attention of many rows that bring one new token each: one compiled call a layer (ours).

Queries and keys are rotated, keys and values written to each row's cache, and the row's tokens are
attended where they lie, in shared parts and in its own, without being brought together. Sums are
taken over a row's tokens in their order: its result does not depend, bit by bit, on its neighbours,
on the parts in which its cache lies, or on the number of threads.
"""

from __future__ import annotations

from ctypes import POINTER, Structure, byref, c_int, c_long, c_void_p
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, final

import torch
import torch.nn.functional as F
from torch.profiler import record_function

from rheostat.engines.torch_cache import Part
from rheostat.engines.torch_threads import on_threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ctypes import CDLL


_NEAR = {torch.float32: 1e-5, torch.bfloat16: 2.0**-6}
"""Relative difference from torch's, by the format of the result."""


class _Shape(Structure):
    _fields_ = tuple((name, c_long) for name in ("kv", "group", "size"))


class _Stretch(Structure):
    _fields_ = (("buffer", c_void_p), ("capacity", c_long), ("count", c_long))


class _Row(Structure):
    _fields_ = tuple((name, c_long) for name in ("first", "many", "place"))


class OneToken(NamedTuple):
    """A row that brings one token to a pass."""

    parts: Sequence[Part]
    """What holds the tokens before it; it is written behind those of the last part."""
    place: int
    """Its place among the new tokens of the pass."""


@final
class AttendRows:
    """The compiled function for one pair of number formats."""

    def __init__(self, library: CDLL, pair: str, stream: torch.dtype, product: torch.dtype) -> None:
        """Look it up.

        Args:
            library: what `fused_library` gave.
            pair: names of the formats, as in the function's own.
            stream: format of the caches.
            product: format of what goes into and comes out of a product.
        """
        self.stream, self.product = stream, product
        self._attend = getattr(library, f"attend_rows_{pair}")
        self._attend.argtypes = (
            *(POINTER(_Shape), POINTER(_Stretch), POINTER(_Row), c_long, c_long),
            *(c_void_p, c_void_p, c_void_p, c_long),
        )
        self._attend.restype = c_int

    def of(self, rows: Sequence[OneToken], *, kv_heads: int, group: int) -> RowsAttention:
        """Return the attention of these rows, to be called for every layer of a pass.

        Args:
            rows: at least one; each has a cache of its own, with room for the token.
            kv_heads: key-value heads.
            group: query heads that share one of them.
        """
        return RowsAttention(self, rows, _Shape(kv_heads, group, rows[0].parts[-1].buffer.shape[4]))

    def __call__(self, *given: object, name: str, rows: int) -> None:
        """Run it; `name` and the number of rows say which calls take about as long."""
        with record_function("rheostat::attend_rows"):
            status = on_threads(name, rows, lambda threads: self._attend(*given, threads))
        if status:
            raise MemoryError("there is no memory for an attention")


@final
class RowsAttention:
    """The attention of a pass's rows, whose caches' addresses are noted once."""

    def __init__(self, attend: AttendRows, rows: Sequence[OneToken], shape: _Shape) -> None:
        """Note where everything lies; the caches must outlive this and not grow meanwhile."""
        parts = [part for row in rows for part in row.parts]
        self._attend, self._shape, self._count = attend, shape, len(rows)
        places = (
            _Stretch(part.buffer.data_ptr(), part.buffer.shape[1], part.length) for part in parts
        )
        self._stretches = (_Stretch * len(parts))(*places)
        self._rows = (_Row * len(rows))()
        first = 0
        for place, row in zip(self._rows, rows, strict=True):
            place.first, place.many, place.place = first, len(row.parts), row.place
            first += len(row.parts)
        tokens = sum(part.length for part in parts) // len(rows)
        self._name = f"attend {shape.kv} {shape.group} {shape.size} {tokens.bit_length()}"

    def __call__(
        self, qkv: torch.Tensor, turns: torch.Tensor, slot: int, out: torch.Tensor
    ) -> None:
        """Attend in one slot of the caches.

        Args:
            qkv: of all new tokens of the pass, [n, (heads + 2 kv_heads) * head_size], contiguous.
            turns: their rotations, complex64 [n, head_size / 2], contiguous.
            slot: the attention's place in the caches.
            out: [n, heads * head_size], contiguous; the rows' places are written.
        """
        self._attend(
            *(byref(self._shape), self._stretches, self._rows, self._count, slot),
            *(qkv.data_ptr(), turns.data_ptr(), out.data_ptr()),
            name=self._name,
            rows=self._count,
        )


@torch.inference_mode()
def attention_agrees(attend: AttendRows) -> bool:
    """Compare it with torch's on drawn numbers, and with itself where a row lies in more parts."""
    draw = torch.Generator().manual_seed(0)
    kv, group, size, ends = 2, 3, 80, (0, 5, 6, 23)
    heads, n = kv * group, 3
    held = torch.randn(2, 25, 2, kv, size, generator=draw).to(attend.stream)
    qkv = torch.randn(n, (heads + 2 * kv) * size, generator=draw).to(attend.product)
    turns = torch.ones(n, size // 2, dtype=torch.complex64)
    whole = held.clone()
    cut = [held[:, a:b].clone() for a, b in pairwise(ends)]
    cut[-1] = torch.cat([cut[-1], held[:, :2]], dim=1)
    rows = [
        OneToken([Part(whole, ends[-1])], 0),
        OneToken([Part(p, b - a) for p, (a, b) in zip(cut, pairwise(ends), strict=True)], 1),
        OneToken([Part(held, 0)], 2),
    ]
    qkv[1] = qkv[0]
    out = torch.empty(n, heads * size, dtype=attend.product)
    attend.of(rows, kv_heads=kv, group=group)(qkv, turns, 1, out)
    wide = qkv.float().view(n, -1, size)
    new = wide[0, heads:].view(2, kv, size)
    tokens = torch.cat([whole[1, : ends[-1]].float(), new[None]])
    keys, values = tokens.permute(1, 2, 0, 3)
    asked = wide[0, :heads].view(kv, group, size)
    wanted = F.scaled_dot_product_attention(asked, keys, values).reshape(-1)
    first = wide[2, heads + kv :].repeat_interleave(group, dim=0).reshape(-1)
    near = _NEAR[attend.product]
    close = partial(torch.allclose, rtol=near, atol=near)
    return (
        torch.equal(out[0], out[1])
        and torch.equal(whole[1, ends[-1]], cut[-1][1, ends[-1] - ends[-2]])
        and torch.equal(whole[1, ends[-1]].float(), new)
        and close(out[0].float(), wanted)
        and close(out[2].float(), first)
    )
