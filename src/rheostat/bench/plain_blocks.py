"""Plain block quantisation, the control of block floating point: integers with a shared scale.

A block's scale is max |x| / (2^(bits - 1) - 1) in 16 bits, so that a block of twice as many numbers
takes the bits that block floating point takes with its 8-bit exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.kernel.kv_cache import Coded
from rheostat.kernel.policies.block_floats import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.kv_cache import Singles

    Arrays = Sequence[NDArray[np.generic]]


@final
@dataclass(frozen=True, kw_only=True)
class PlainBlocks:
    """A `Coder`: every channel keeps its place."""

    key_bits: int
    value_bits: int
    block: int
    """Channels that share a scale."""
    recent: int
    every: int

    def encode(self, keys: Singles, values: Singles, state: Any) -> Coded:
        """Code a slot's tokens [kv_heads, n, head_size]."""
        parts = (*self._coded(keys, self.key_bits), *self._coded(values, self.value_bits))
        return Coded(parts, state)

    def decode(self, parts: Arrays, state: Any) -> tuple[Singles, Singles]:
        """Return the keys and values that are stored."""
        keys = self._read(parts[:2], self.key_bits)
        return keys, self._read(parts[2:], self.value_bits)

    def _coded(self, numbers: Singles, bits: int) -> tuple[NDArray[np.generic], ...]:
        heads, tokens, size = numbers.shape
        blocks = numbers.transpose(1, 0, 2).reshape(tokens, heads, size // self.block, self.block)
        limit = 2 ** (bits - 1) - 1
        scales = (np.abs(blocks).max(axis=3) / limit).astype(np.float16)
        wide = scales.astype(np.float32)[..., None]
        whole = np.rint(blocks / np.where(wide > 0, wide, 1)).clip(-limit, limit).astype(np.int8)
        return packed(whole.reshape(tokens, heads, size), bits), scales

    def _read(self, parts: Arrays, bits: int) -> Singles:
        whole, scales = unpacked(parts[0], bits), parts[1].astype(np.float32)
        tokens, heads, size = whole.shape
        blocks = whole.reshape(tokens, heads, size // self.block, self.block) * scales[..., None]
        numbers: Singles = blocks.reshape(tokens, heads, size).transpose(1, 0, 2)
        return numbers
