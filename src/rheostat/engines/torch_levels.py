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

from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.engines.gguf_file import open_gguf
from rheostat.engines.torch_level_ops import GROUP, packed, product
from rheostat.engines.torch_matrix import MOST_ROWS, laid_out, multiplied
from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
_VERSION = 2
_FOUR_BIT_PRODUCT = torch.ops.aten._weight_int4pack_mm_for_cpu.default


class Levels(NamedTuple):
    """A matrix [out, in] in four bits, rows in the file's order."""

    levels: torch.Tensor
    """uint8 [out, in], 0..15."""
    scale: torch.Tensor
    """float32 [out, in / 32]."""
    low: torch.Tensor
    """float32 [out, in / 32]."""

    @staticmethod
    def joined(parts: Sequence[Levels]) -> Levels:
        """Put matrices of equal input below each other."""
        return Levels(*(torch.cat(field) for field in zip(*parts, strict=True)))

    def values(self) -> torch.Tensor:
        """Return the weights, float32 [out, in]."""
        scale, low = (t.repeat_interleave(GROUP, dim=1) for t in (self.scale, self.low))
        return self.levels * scale + low


@final
class LevelMatrix:
    """A four-bit matrix, packed for the processor's own product, and its form for many rows."""

    def __init__(self, matrix: Levels, forms: Forms) -> None:
        """Pack it; the levels themselves are not kept, nor is a form that is never used."""
        self._rows = forms.level_rows
        self._form = forms.level_wide
        self.own = packed(*matrix) if forms.level_own else None
        """As our own product takes it; None where torch's is used."""
        if self._rows < MOST_ROWS:
            self._wide = laid_out(matrix.values().to(torch.bfloat16), self._form)
        if forms.level_own:
            return
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
            matrix.levels.to(torch.int32), 2
        )
        middle = matrix.low + _MIDDLE * matrix.scale
        pairs = torch.stack([matrix.scale, middle], dim=-1).transpose(0, 1)
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


def load_levels(loaded: LoadedModel) -> Mapping[str, Levels]:
    """Return the matrices of a model's file that are held in four bits, by `weight_names`.

    Raises:
        ModelError: the file holds none.
    """
    path = cache_folder() / "weights" / f"{loaded.digest}-levels-v{_VERSION}.safetensors"
    held = _read(path)
    if held is None:
        held = _unpacked(loaded)
        flat = {f"{n}#{f}": t for n, m in held.items() for f, t in m._asdict().items()}
        with whole_file(path) as partial:
            save_file(flat, partial)
    if not held:
        raise ModelError(
            f"`{loaded.name}` holds no matrix of a layer in the four-bit formats Q4_0 and Q4_1",
            hint="leave out `--dtype gguf`, or use a file in one of these formats",
        )
    return held


def _read(path: Path) -> dict[str, Levels] | None:
    try:
        flat = load_file(path)
        names = {name.partition("#")[0] for name in flat}
        return {n: Levels(*(flat[f"{n}#{field}"] for field in Levels._fields)) for n in names}
    except (OSError, SafetensorError, KeyError):
        return None


def _unpacked(loaded: LoadedModel) -> dict[str, Levels]:
    if loaded.gguf_path is None:
        raise UserError(
            f"`{loaded.name}` is no GGUF file: it has no four-bit weights of its own",
            hint="choose `--dtype float32` or `bfloat16`",
        )
    stored = open_gguf(loaded.gguf_path).tensors
    return {
        name: levels_of(tensor)
        for name, tensor in stored.items()
        if tensor.kind.name in _LAYOUTS and name.startswith("layers.") and _in_order(name, tensor)
    }


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


def fits(matrix: Levels) -> bool:
    """Return whether the processor's four-bit product takes a matrix of this shape."""
    return matrix.levels.shape[0] % _OUT == 0


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


_LAYOUTS = {"Q4_0": 1, "Q4_1": 2}
"""Format -> 16-bit numbers at the head of each block of 32 weights."""
