"""Block floating point: older keys and values in few bits, outlier channels together (2403.20137).

Blocks of `block` channels of one head share an 8-bit exponent e = floor(log2 max |x|); a channel
has a signed mantissa of m bits, q = round(x / 2^(e - m + 2)), which is m + 8 / `block` bits a
number. K-sort: a few channels of the keys are large in every token, and those that share a block
with one lose their bits; channels are put in order of size first, so that large ones are together.

Ours: the order is that of the largest |key| of each channel in the row's own prompt, after the
rotary embedding, so that it needs no weights and is undone when read; values take `value_bits` and
keep their order; the newest tokens are not coded. Dial up to 1/2: 8 bits a key, over it 4. Coding
and reading cost more time here than the bytes save.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import CachePlan, Coded
from rheostat.kernel.method import Card
from rheostat.kernel.policies.block_floats import decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.kv_cache import Singles
    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class Bfp:
    """Holds older keys and values as block floating point."""

    block: int = 32
    """Channels that share an exponent; it must divide the head size."""
    value_bits: int = 8
    """Bits of a value's mantissa, 4 or 8."""
    rearrange: bool = True
    """Whether the channels of the keys are put in order of size."""
    recent: int = 32
    """Newest tokens that are not coded."""
    every: int = 64
    """Tokens between two borders, where older tokens are coded."""

    card: ClassVar[Card] = Card(
        name="bfp",
        title="holds older cache entries as block floating point",
        seam="cache",
        exactness="lossy",
        paper="arXiv:2403.20137",
        paper_title="Accurate Block Quantization in LLMs with Outliers",
        authors="Nikita Trukhanov, Ilya Soloveychik",
        needs=frozenset({"cache.codes"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name, least in (("block", 1), ("recent", 1), ("every", 1)):
            if getattr(self, name) < least:
                raise MethodError(f"`bfp.{name}` must be at least {least}")
        if self.value_bits not in {4, 8}:
            raise MethodError(f"`bfp.value_bits` must be 4 or 8, got `{self.value_bits}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> CachePlan | None:
        """Code keys in 8 bits up to dial 1/2, and in 4 over it."""
        if shape.head_size % self.block:
            raise MethodError(
                f"`bfp.block` must divide the head size {shape.head_size}, got `{self.block}`",
                hint=f"write `--param bfp.block={shape.head_size // 2}`",
            )
        if dial == 0:
            return None
        return CachePlan(coder=_Blocks(self, 8 if dial <= 1 / 2 else 4))


@final
@dataclass(frozen=True)
class _Blocks:
    method: Bfp
    bits: int

    @property
    def every(self) -> int:
        return self.method.every

    @property
    def recent(self) -> int:
        return self.method.recent

    def encode(self, keys: Singles, values: Singles, state: Any) -> Coded:
        order = state
        if order is None:
            most = np.abs(keys).max(axis=1)
            order = np.argsort(-most, axis=1, kind="stable")
        if self.method.rearrange:
            keys = np.take_along_axis(keys, order[:, None], axis=2)
        method = self.method
        parts = encoded(keys, self.bits, method.block)
        return Coded((*parts, *encoded(values, method.value_bits, method.block)), order)

    def decode(self, parts: Sequence[NDArray[np.generic]], state: Any) -> tuple[Singles, Singles]:
        keys = decoded(parts[0], parts[1], self.bits)
        values = decoded(parts[2], parts[3], self.method.value_bits)
        if self.method.rearrange:
            back = np.argsort(state, axis=1)
            keys = np.take_along_axis(keys, back[:, None], axis=2)
        return keys, values
