"""The small operations between a layer's products, one call each, for steps over few tokens.

On a step over one token a third of the time goes into operations of a microsecond each
(`rheostat bench step`). Here each group of them is one function of a compiled library, checked
against torch's own operations when it is loaded; without it, and for many tokens, those are used.
"""

from __future__ import annotations

from ctypes import c_float, c_long, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
import torch.nn.functional as F

from rheostat.engines.compiled_checks import found_right
from rheostat.engines.fused_build import fused_library
from rheostat.engines.torch_attend_rows import AttendRows, attention_agrees

if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import CDLL

FUSED_ROWS = 48
"""Up to so many tokens of a step; beyond, torch's operations use several threads."""
_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16"}
_P, _L = c_void_p, c_long
_ARGUMENTS = {
    "add_norm": (_P, _P, _P, _P, _P, _L, _L, c_float),
    "turn": (_P, _P, _P, _P, _L, _L, _L, _L, _L, _L),
    "gather": (_P, _P, _L, _L, _L),
    "gate": (_P, _P, _L, _L, _L, _L),
}


class Normed(NamedTuple):
    """A residual stream and its norm."""

    stream: torch.Tensor
    normed: torch.Tensor


@final
class FusedOps:
    """The library's functions for one pair of number formats."""

    def __init__(self, library: CDLL, stream: torch.dtype, product: torch.dtype) -> None:
        """Look the functions up.

        Args:
            library: what `fused_library` gave.
            stream: format of residual stream, norms and cache.
            product: format of what goes into and comes out of a product.
        """
        pair = f"{_NAMES[stream]}_{_NAMES[product]}"
        self.stream, self.product = stream, product
        self._add_norm, self._turn, self._gather, self._gate = (
            _function(library, f"{name}_{pair}", arguments)
            for name, arguments in _ARGUMENTS.items()
        )
        self.attend = AttendRows(library, pair, stream, product)

    def add_norm(
        self, x: torch.Tensor, update: torch.Tensor | None, weight: torch.Tensor, eps: float
    ) -> Normed:
        """Return x [n, width] plus an update, and that divided by its root mean square."""
        n, width = x.shape
        total = torch.empty_like(x)
        normed = torch.empty(n, width, dtype=self.product)
        added = None if update is None else update.data_ptr()
        self._add_norm(
            x.data_ptr(),
            added,
            weight.data_ptr(),
            total.data_ptr(),
            normed.data_ptr(),
            n,
            width,
            eps,
        )
        return Normed(total, normed)

    def turn(
        self, qkv: torch.Tensor, turns: torch.Tensor, room: torch.Tensor, group: int
    ) -> torch.Tensor:
        """Rotate queries and keys, write keys and values into the cache.

        Args:
            qkv: [n, (heads + 2 kv_heads) * head_size], contiguous.
            turns: complex64 [n, head_size / 2], contiguous.
            room: [n, 2, kv_heads, head_size], contiguous: where the cache wants them.
            group: queries that share a key-value head.

        Returns:
            Queries, [1, kv_heads, group * n, head_size].
        """
        n, _, kv, size = room.shape
        queries = torch.empty(1, kv, group * n, size, dtype=self.stream)
        self._turn(
            qkv.data_ptr(),
            turns.data_ptr(),
            queries.data_ptr(),
            room.data_ptr(),
            n,
            kv,
            group,
            size,
            0,
            kv,
        )
        return queries

    def gather(self, attended: torch.Tensor, out: torch.Tensor) -> None:
        """Put attended [1, kv_heads, group * n, head_size] into out [n, heads * head_size]."""
        attended = attended.contiguous()
        n, size = len(out), attended.shape[-1]
        heads = attended.numel() // (n * size)
        self._gather(attended.data_ptr(), out.data_ptr(), n, heads, size)

    def gate(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return silu of the first half of hidden [n, 2 * inner], times its second half."""
        n, inner = hidden.shape[0], hidden.shape[1] // 2
        out = torch.empty(n, inner, dtype=self.product)
        self._gate(hidden.data_ptr(), out.data_ptr(), n, inner, 0, inner)
        return out


def _function(library: CDLL, name: str, arguments: tuple[Any, ...]) -> Callable[..., None]:
    function = getattr(library, name)
    function.argtypes, function.restype = arguments, None
    found: Callable[..., None] = function
    return found


class Fused(NamedTuple):
    """The functions, or why torch's own operations are used."""

    ops: FusedOps | None
    reason: str = ""


@cache
def fused_ops(stream: torch.dtype, product: torch.dtype) -> Fused:
    """Return the fused operations of a pair of formats where they can be had and are right."""
    built = fused_library()
    if built.library is None:
        return Fused(None, built.reason)
    ops = FusedOps(built.library, stream, product)
    name = f"steps-{_NAMES[stream]}-{_NAMES[product]}"
    if not found_right(name, lambda: _agrees(ops) and attention_agrees(ops.attend)):
        return Fused(None, "the compiled operations do not agree with torch's")
    return Fused(ops)


@torch.inference_mode()
def _agrees(ops: FusedOps) -> bool:
    """Compare every operation with torch's on drawn numbers."""
    draw = torch.Generator().manual_seed(0)
    n, kv, group, size = 3, 2, 3, 16
    width = kv * group * size

    def drawn(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        return (4 * torch.randn(*shape, generator=draw)).to(dtype)

    x, weight = drawn(n, width, dtype=ops.stream), drawn(width, dtype=ops.stream)
    update = drawn(n, width, dtype=ops.product)
    own = ops.add_norm(x, update, weight, 1e-5)
    total = (x + update).to(ops.stream)
    square = total.float().pow(2).mean(dim=1, keepdim=True)
    normed = total.float() * torch.rsqrt(square + 1e-5) * weight.float()
    qkv = drawn(n, width + 2 * kv * size, dtype=ops.product)
    turns = torch.polar(torch.ones(n, size // 2), torch.randn(n, size // 2, generator=draw))
    room = torch.empty(n, 2, kv, size, dtype=ops.stream)
    queries = ops.turn(qkv, turns, room, group)
    wide = torch.view_as_complex(qkv.float().view(n, -1, size // 2, 2)) * turns[:, None]
    turned = torch.view_as_real(wide).view(n, -1, size)
    held = torch.stack([turned[:, kv * group : -kv], qkv.float().view(n, -1, size)[:, -kv:]], dim=1)
    asked = turned[:, : kv * group].view(n, kv, group, size).permute(1, 2, 0, 3)
    hidden = drawn(n, 2 * width, dtype=ops.product)
    hidden[0, :4] = torch.tensor([-120.0, 120.0, 0.0, -30.0])
    put = torch.empty(n, width, dtype=ops.product)
    ops.gather(queries, put)
    gate, up = hidden.float().chunk(2, dim=1)
    gathered = queries.view(kv * group, n, size).transpose(0, 1).reshape(n, width)
    pairs = [
        (own.stream, total),
        (own.normed, normed),
        (queries.view(kv, group, n, size), asked),
        (room, held),
        (put, gathered),
        (ops.gate(hidden), F.silu(gate) * up),
    ]
    return all(_near(found, wanted) for found, wanted in pairs)


def _near(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    relative = 1e-5 if found.dtype == torch.float32 else 2.0**-6
    return torch.allclose(found.float(), wanted.float(), rtol=relative, atol=1e-5)
