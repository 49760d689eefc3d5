"""Counts executed matrix work from outside: an eye on every torch operation of a block."""

from __future__ import annotations

from math import prod

from torch.utils._python_dispatch import TorchDispatchMode

from rheostat.engines import torch_matrix
from rheostat.engines.torch_attend_rows import RowsAttention


class OutsideCount(TorchDispatchMode):
    """FLOPs of matrix products, and bytes of the weights, keys and values that they read."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.bytes = 0
        self.cached = 0
        """Of them, those of keys and values."""
        self._own = torch_matrix.float_product
        self._attend = RowsAttention.__call__

    def __enter__(self):
        # compiled: no operations of torch's
        torch_matrix.float_product = self._own_product
        RowsAttention.__call__ = lambda attention, *given: self._own_attention(attention, *given)
        return super().__enter__()

    def __exit__(self, *raised):
        torch_matrix.float_product, RowsAttention.__call__ = self._own, self._attend
        return super().__exit__(*raised)

    def _own_attention(self, attention, *given):
        shape, stretches = attention._shape, attention._stretches
        for row in attention._rows:
            keys = 1 + sum(stretches[row.first + i].count for i in range(row.many))
            self.flops += 4 * shape.kv * shape.group * shape.size * keys
            read = 2 * shape.kv * shape.size * keys * attention._attend.stream.itemsize
            self.bytes += read
            self.cached += read
        return self._attend(attention, *given)

    def _own_product(self, x, weight, *to):
        self._linear(x, weight)
        return self._own(x, weight, *to)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in {"linear", "_linear_pointwise"}:
            self._linear(args[0], args[1])
        elif name == "mm":
            self._product(args[0], args[1])
        elif name == "addmm":
            self._product(args[1], args[2])
        elif name == "_weight_int8pack_mm":
            self._product(args[0], args[1])
        elif name == "_weight_int4pack_mm_for_cpu":
            self._four_bits(args[0], args[1], args[3])
        elif name == "bmm":
            self._products(args[0], args[1])
        elif "scaled_dot_product" in name:
            self._attention(*args[:3])
        elif name == "matmul" and args[0].shape[:-2] == args[1].shape[:-2]:
            self._capped(args[0], args[1])
        elif name in {"baddbmm", "matmul", "einsum"}:
            raise AssertionError(f"`{name}` is not counted; teach the count about it")
        return result

    def _linear(self, x, weight):
        self.flops += 2 * prod(x.shape[:-1]) * weight.numel()
        self.bytes += weight.numel() * weight.element_size()

    def _product(self, x, weight):
        self.flops += 2 * x.shape[0] * weight.numel()
        self.bytes += weight.numel() * weight.element_size()

    def _products(self, x, weights):
        self.flops += 2 * x.shape[1] * weights.numel()
        self.bytes += weights.numel() * weights.element_size()

    def _capped(self, x, held):
        """Attention whose scores are capped: its products with keys and with values."""
        read = held.numel() * held.element_size()
        self.flops += 2 * x.shape[-2] * held.numel()
        self.bytes += read
        self.cached += read

    def _four_bits(self, x, packed, pairs):
        self.flops += 2 * x.shape[0] * 2 * packed.numel() * packed.element_size()
        self.bytes += packed.numel() * packed.element_size() + pairs.numel() * pairs.element_size()

    def _attention(self, query, keys, values):
        self.flops += 2 * prod(query.shape) * keys.shape[-2]
        self.flops += 2 * prod(query.shape[:-1]) * prod(values.shape[-2:])
        read = (keys.numel() + values.numel()) * keys.element_size()
        self.bytes += read
        self.cached += read
