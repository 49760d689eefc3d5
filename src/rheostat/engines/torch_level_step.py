"""All layers of a step over few tokens in one call, where every product is our own.

What lies between the layers' products is compiled with them (`level_step.c`), attention as well.
Every token is treated by itself; what a step reads beside it changes the order of attention's sums.
"""

from __future__ import annotations

from ctypes import POINTER, Structure, c_char_p, c_float, c_long, c_void_p
from typing import TYPE_CHECKING, final

import torch
from torch.profiler import record_function

from rheostat.engines.torch_level_ops import level_ops
from rheostat.engines.torch_levels import LevelMatrix
from rheostat.engines.torch_threads import on_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_stack import PackedRow
    from rheostat.engines.torch_weights import Layer
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Layout


class _Shape(Structure):
    _fields_ = (
        *((name, c_long) for name in ("layers", "width", "inner", "kv", "group", "size")),
        ("eps", c_float),
    )


class _Layer(Structure):
    _fields_ = tuple(
        (name, c_void_p) for name in ("attention_norm", "mlp_norm", "qkv", "out", "gate_up", "down")
    )


class _Row(Structure):
    _fields_ = (
        ("cache", c_void_p),
        *((name, c_long) for name in ("capacity", "held", "start", "end")),
        ("mask", c_void_p),
    )


@final
class LevelStep:
    """The layers of a model whose products are all our own, run in one call."""

    def __init__(self, shape: ModelShape, layers: Sequence[Layer], eps: float) -> None:
        """Note where everything lies; the layers must outlive this."""
        library = level_ops().library
        assert library is not None
        self._step = library.level_step
        self._step.argtypes = (
            *(POINTER(_Shape), POINTER(_Layer), POINTER(_Row), c_long),
            *(c_char_p, c_char_p, c_char_p, c_void_p, c_void_p, c_long, c_long),
        )
        self._shape = _Shape(
            layers=shape.layers,
            width=shape.width,
            inner=shape.inner,
            kv=shape.kv_heads,
            group=shape.heads // shape.kv_heads,
            size=shape.head_size,
            eps=eps,
        )
        self._layers = (_Layer * shape.layers)()
        for place, layer in zip(self._layers, layers, strict=True):
            for field in _Layer._fields_:
                held = getattr(layer, field[0])
                tensor = held.own if isinstance(held, LevelMatrix) else held
                assert isinstance(tensor, torch.Tensor)
                setattr(place, field[0], tensor.data_ptr())

    def takes(self, rows: Sequence[PackedRow]) -> bool:
        """Return whether every row's keys and values lie in one piece."""
        return all(row.cache.whole() is not None for row in rows)

    def run(
        self,
        x: torch.Tensor,
        rows: Sequence[PackedRow],
        turns: torch.Tensor,
        *,
        layout: Layout,
        slots: Layout,
    ) -> torch.Tensor:
        """As `FusedStack.run`."""
        x, turns = x.clone(memory_format=torch.contiguous_format), turns.contiguous()
        places = (_Row * len(rows))()
        for place, row in zip(places, rows, strict=True):
            buffer = row.cache.whole()
            assert buffer is not None
            place.cache, place.capacity = buffer.data_ptr(), buffer.shape[1]
            place.held = row.cache.length + row.ahead
            place.start, place.end = row.start, row.end
            place.mask = None if row.mask is None else row.mask.data_ptr()
        given = (
            *(self._shape, self._layers, places, len(rows)),
            *(bytes(layout.attention), bytes(layout.mlp), bytes(slots.attention)),
            *(turns.data_ptr(), x.data_ptr(), len(x)),
        )
        kind = f"step {x.shape[1]} {sum(layout.attention)} {sum(layout.mlp)}"
        with record_function("rheostat::level_step"):
            status = on_threads(kind, len(x), lambda threads: self._step(*given, threads))
        if status:
            raise MemoryError("there is no memory for a step")
        return x
