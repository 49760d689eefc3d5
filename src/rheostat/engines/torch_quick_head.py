"""The output head in fewer bits, with bounds: which rows can hold the largest logit.

A row of the head that is read in few bits differs from the true one by a vector of known length,
and so do the activations; by Cauchy and Schwarz that bounds how far each logit can be off. The
rows whose upper bound reaches the best lower bound are few; they are multiplied again in float32.
Two readings: eight bits (fewest bytes, for few rows of activations), and bfloat16 (fast on
processors with bfloat16 units, for many).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

import torch

from rheostat.engines.torch_matrix import laid_out, multiplied

if TYPE_CHECKING:
    from collections.abc import Callable

_LEVELS = 127
_BFLOAT16 = 2.0**-8
"""Largest relative error of rounding to bfloat16."""
FLOAT32 = 2.0**-23
"""Of a float32 sum, for each of its terms."""
MARGIN = 1.001
"""For the rounding of the bounds themselves."""
_TINY = 1e-6
MOST = 4096
"""With more candidates a row's whole product is taken."""
_STEP = 16
"""The eight-bit product takes widths that are a multiple of this."""
_BLOCK = 1024
"""Rows that are brought to few bits at once."""


def eight_bits_fit(weight: torch.Tensor) -> bool:
    """Return whether the eight-bit product takes a head of this width."""
    return weight.shape[1] % _STEP == 0


class Candidates(NamedTuple):
    """Pairs of a row of activations and a row of the head, m of them, ordered by the former."""

    rows: torch.Tensor
    """Indices of activations, [m]."""
    tokens: torch.Tensor
    """Indices into the vocabulary, ascending within a row, [m]."""
    open: list[int]
    """Activations without candidates: too many of them, or no numbers."""


@final
class QuickHead:
    """One reading of the head, and how far each of its rows is from the true one."""

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype, *, bits: int) -> None:
        """Bring the head to few bits.

        Args:
            weight: float32 [vocabulary, width].
            dtype: format of the true head, to which the weight is rounded first.
            bits: 8, or 16 for bfloat16.
        """
        eight = bits == 8
        brought = _eight_bits if eight else _half
        blocks = [
            brought(weight[at : at + _BLOCK].to(dtype).float())
            for at in range(0, len(weight), _BLOCK)
        ]
        held, scale, self._error, self._norm = (
            torch.cat(field) for field in zip(*blocks, strict=True)
        )
        self._product = _eight_bit_product(held, scale) if eight else _half_product(held)
        self._sum = FLOAT32 * weight.shape[1]
        self._largest_error = float(self._error.max())
        self._largest_norm = float(self._norm.max())

    def candidates(self, x: torch.Tensor) -> Candidates:
        """Return for each row of x float32 [n, width] which tokens can have its largest logit.

        Logits are bounded loosely for all tokens first, then closely for those near the top.
        """
        narrow = x.to(torch.bfloat16)
        near = self._product(narrow)
        top = near.amax(dim=1).float()
        size = torch.linalg.vector_norm(x, dim=1)
        lost = torch.linalg.vector_norm(x - narrow.float(), dim=1)
        size = MARGIN * (size + lost)
        lost = MARGIN * (lost + self._sum * size)
        loose = MARGIN * (self._largest_error * size + self._largest_norm * lost) + _TINY
        loose += 2 * _BFLOAT16 * (top.abs() + 2 * loose)
        least = top - 2 * loose
        least -= 2 * _BFLOAT16 * least.abs()  # so that rounding it to bfloat16 excludes nothing
        rows, tokens = (near >= least.to(torch.bfloat16)[:, None]).nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=len(x))
        closed = (counts > 0) & (counts <= MOST)
        if not closed.all():
            kept = closed[rows]
            rows, tokens = rows[kept], tokens[kept]
        values = near[rows, tokens].float()
        off = self._error[tokens] * size[rows] + self._norm[tokens] * lost[rows]
        off = MARGIN * (off + 2 * _BFLOAT16 * values.abs()) + _TINY
        best = torch.full_like(top, -torch.inf).scatter_reduce_(0, rows, values - off, "amax")
        kept = values + off >= best[rows]
        return Candidates(rows[kept], tokens[kept], (~closed).nonzero()[:, 0].tolist())


_Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""What is held [n, in], scales bfloat16 [n], and the lengths of what is lost and kept, [n]."""


def _eight_bits(weight: torch.Tensor) -> _Parts:
    largest = weight.abs().amax(dim=1).clamp_min(1e-20)
    scale = (largest / _LEVELS).to(torch.bfloat16)
    wide = scale.float()[:, None]
    levels = torch.round(weight / wide).clamp_(-_LEVELS - 1, _LEVELS)
    return levels.to(torch.int8), scale, *_lengths(weight, levels * wide)


def _half(weight: torch.Tensor) -> _Parts:
    held = weight.to(torch.bfloat16)
    return held, torch.empty(0), *_lengths(weight, held.float())


def _lengths(weight: torch.Tensor, held: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    lost, kept = (torch.linalg.vector_norm(part, dim=1) for part in (weight - held, weight))
    return MARGIN * lost, MARGIN * kept


def _eight_bit_product(
    levels: torch.Tensor, scale: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch._weight_int8pack_mm(x, levels, scale)


def _half_product(held: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    packed = laid_out(held, "packed")
    return lambda x: multiplied(x, packed, "packed")
