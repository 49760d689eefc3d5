"""Block floating point: numbers that share an exponent, with mantissas of four or eight bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rheostat.kernel.kv_cache import Singles

    Bytes = NDArray[np.generic]

_LEAST = -126
"""Least exponent; a block of zeros has it."""


def encoded(numbers: Singles, bits: int, block: int) -> tuple[Bytes, Bytes]:
    """Code numbers [heads, tokens, size] in blocks along `size`.

    Args:
        numbers: finite.
        bits: of a mantissa, with its sign: 4 or 8.
        block: numbers that share an exponent; it divides `size`.

    Returns:
        Mantissas, int8 [tokens, heads, size], or two a byte in uint8 [tokens, heads, size / 2];
        exponents, int8 [tokens, heads, size / block].
    """
    heads, tokens, size = numbers.shape
    blocks = numbers.transpose(1, 0, 2).reshape(tokens, heads, size // block, block)
    most = np.abs(blocks).max(axis=3)
    exponents = np.where(most > 0, np.frexp(most)[1] - 1, _LEAST).clip(_LEAST, 127)
    limit = 2 ** (bits - 1) - 1
    scaled = np.ldexp(blocks, -(exponents - bits + 2)[..., None])
    mantissas = np.rint(scaled).clip(-limit, limit).astype(np.int8).reshape(tokens, heads, size)
    return packed(mantissas, bits), exponents.astype(np.int8)


def decoded(mantissas: Bytes, exponents: Bytes, bits: int) -> Singles:
    """Return what `encoded` coded, [heads, tokens, size]."""
    whole = unpacked(mantissas, bits)
    tokens, heads, size = whole.shape
    scale = np.exp2(exponents.astype(np.float32) - (bits - 2))
    blocks = whole.reshape(tokens, heads, exponents.shape[2], -1) * scale[..., None]
    numbers: Singles = blocks.reshape(tokens, heads, size).transpose(1, 0, 2)
    return numbers


def packed(numbers: Bytes, bits: int) -> Bytes:
    """Hold int8 numbers from -8 to 7 two a byte along the last axis, where they take four bits."""
    if bits != 4:
        return numbers
    shifted = (numbers + 8).astype(np.uint8)
    return shifted[..., ::2] | (shifted[..., 1::2] << 4)


def unpacked(held: Bytes, bits: int) -> Singles:
    """Return what `packed` held, float32."""
    if bits != 4:
        return held.astype(np.float32)
    levels = held.astype(np.uint8)
    pairs = np.stack([levels & 15, levels >> 4], axis=-1)
    whole: Singles = pairs.reshape(*held.shape[:-1], -1).astype(np.float32) - 8
    return whole
