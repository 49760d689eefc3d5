"""Matrices as a GGUF file holds them: four bits a weight, multiplied without unpacking.

Formats Q4_0 and Q4_1: of every 32 weights in a row, weight = scale x level + low with levels
0..15. The levels are the file's own. Two products take them as they are, and the faster is used:
our own (`torch_level_ops`), with the file's own scales and activations of 15 bits, or torch's, with
scales and activations rounded to bfloat16. Everything between the products is float32. Beyond a
measured number of rows, where either is slow, the weights themselves are rounded to bfloat16 and
multiplied by the processor's wide units. Up to that border, and beyond it, every row's product is
the same whatever its neighbours are.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import numpy as np
import torch

from rheostat.engines.gguf_file import open_gguf
from rheostat.engines.kept_tensors import kept_path, kept_tensors
from rheostat.engines.torch_level_ops import GROUP, Levels, packed, product, unpacked
from rheostat.engines.torch_matrix import MOST_ROWS, laid_out, multiplied
from rheostat.engines.weight_names import FUSED
from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.engines.gguf_file import GgufTensor
    from rheostat.engines.torch_matrix import Forms
    from rheostat.engines.weights_cache import LoadedModel

BYTES = 0.5 + 2 * 2 / GROUP
"""Bytes of a weight: its level, and its share of scale and low."""
_OUT = 16
"""The product takes matrices whose rows are a multiple of this."""
_MIDDLE = 8
"""The product counts levels from the middle: weight = scale (level - 8) + (low + 8 scale)."""
_KIND = "levels-v3"
_FOUR_BIT_PRODUCT = torch.ops.aten._weight_int4pack_mm_for_cpu.default


@final
class LevelMatrix:
    """A four-bit matrix, packed for the processor's own product, and its form for many rows."""

    def __init__(self, matrix: torch.Tensor, forms: Forms) -> None:
        """Hold it in memory of its own; a form that is never used is not made.

        Args:
            matrix: as `packed` lays it out.
            forms: which products take it.
        """
        self._rows = forms.level_rows
        self._form = forms.level_wide
        self.own = matrix.clone() if forms.level_own else None
        """As our own product takes it; None where torch's is used."""
        if forms.level_own and self._rows >= MOST_ROWS:
            return
        held = unpacked(matrix)
        if self._rows < MOST_ROWS:
            self._wide = laid_out(held.values().to(torch.bfloat16), self._form)
        if forms.level_own:
            return
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
            held.levels.to(torch.int32), 2
        )
        middle = held.low + _MIDDLE * held.scale
        pairs = torch.stack([held.scale, middle], dim=-1).transpose(0, 1)
        self._pairs = pairs.to(torch.bfloat16).contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [n, in], contiguous and rounded, times the transposed weight."""
        if self.own is not None and x.shape[0] <= self._rows:
            return product(x.float(), self.own).to(x.dtype)
        narrow = x.to(torch.bfloat16)
        if x.shape[0] > self._rows:
            return multiplied(narrow, self._wide, self._form).to(x.dtype)
        out: torch.Tensor = _FOUR_BIT_PRODUCT(narrow, self._packed, GROUP, self._pairs)
        return out.to(x.dtype)

    def weight_bytes(self, rows: int) -> float:
        """Return the bytes of one weight that a product of so many rows reads."""
        if rows <= self._rows:
            return BYTES
        return 4.0 if self._form == "packed32" else 2.0


def load_levels(loaded: LoadedModel) -> Mapping[str, torch.Tensor]:
    """Return the stacked matrices that a model's file holds in four bits, packed and mapped.

    They are packed once and kept in a file of the cache. Names are `layers.3.qkv` and the like;
    rows of queries and keys are in the file's order, the one that `fused_weights` makes.

    Raises:
        ModelError: the file holds none.
    """
    held = kept_tensors(kept_path(loaded.digest, _KIND), partial(_stacked, loaded))
    if not held:
        raise ModelError(
            f"`{loaded.name}` holds no matrix of a layer in the four-bit formats Q4_0 and Q4_1",
            hint="leave out `--dtype gguf`, or use a file in one of these formats",
        )
    return held


def _stacked(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    if loaded.gguf_path is None:
        raise UserError(
            f"`{loaded.name}` is no GGUF file: it has no four-bit weights of its own",
            hint="choose `--dtype float32` or `bfloat16`",
        )
    stored = open_gguf(loaded.gguf_path).tensors
    found = {}
    for layer in range(loaded.shape.layers):
        for stack, parts in FUSED.items():
            names = [f"layers.{layer}.{part}.weight" for part in parts]
            matrix = _joined([(name, stored[name]) for name in names])
            if matrix is not None:
                found[f"layers.{layer}.{stack}"] = matrix
    return found


def _joined(parts: Sequence[tuple[str, GgufTensor]]) -> torch.Tensor | None:
    """Put matrices of equal input below each other and pack them; None where one cannot be held."""
    rows = sum(tensor.shape[0] for _, tensor in parts)
    if rows % _OUT or not all(t.kind.name in _LAYOUTS and _in_order(n, t) for n, t in parts):
        return None
    levels = [levels_of(tensor) for _, tensor in parts]
    return packed(*(torch.cat(field) for field in zip(*levels, strict=True)))


def _in_order(name: str, tensor: GgufTensor) -> bool:
    """Return whether the rows are in pair order, as `fused_weights` has queries and keys."""
    return tensor.interleaved_heads > 0 or name.split(".")[-2] not in ("q", "k")


def levels_of(stored: GgufTensor) -> Levels:
    """Unpack a tensor of Q4_0 (16-bit scale, 16 bytes of levels) or Q4_1 (scale, low, levels)."""
    out, size = stored.shape
    numbers = _LAYOUTS[stored.kind.name]
    blocks = np.ascontiguousarray(stored.data).view(np.uint8).reshape(out, size // GROUP, -1)
    heads = blocks[..., : 2 * numbers].copy().view(np.float16).astype(np.float32)
    nibbles = blocks[..., 2 * numbers :]
    levels = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1).reshape(out, size)
    scale = heads[..., 0]
    low = heads[..., 1] if numbers > 1 else -np.float32(_MIDDLE) * scale
    return Levels(_tensor(levels), _tensor(scale), _tensor(low))


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


_LAYOUTS = {"Q4_0": 1, "Q4_1": 2}
"""Format -> 16-bit numbers at the head of each block of 32 weights."""
