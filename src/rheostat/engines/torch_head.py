"""The output head: all logits, or only the largest one of each row, exactly, from fewer bytes.

Greedy decoding needs the index of the largest logit alone. Over few rows the head is read in eight
bits first; the rounding of every row's weights, of the activations and of the result bounds how
far such a logit can be off (Cauchy and Schwarz), so the few rows that can still hold the largest
one are multiplied again in float32, and the choice is that of the whole product, up to the order
of its float32 sums (ours).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, final

import torch
import torch.nn.functional as F

from rheostat.engines.torch_matrix import Matrix

if TYPE_CHECKING:
    from rheostat.engines.torch_matrix import Forms

_LEVELS = 127
_BFLOAT16 = 2.0**-8
"""Largest relative error of rounding to bfloat16."""
_FLOAT32 = 2.0**-23
"""Of a float32 sum, for each of its terms."""
_MARGIN = 1.001
"""For the rounding of the bounds themselves."""
_TINY = 1e-6
_MOST = 4096
"""With more candidates the whole product is taken."""
_STEP = 16
"""The eight-bit product takes widths that are a multiple of this."""
_BLOCK = 8192
"""Rows that are brought to eight bits at once."""


def quick_fits(weight: torch.Tensor) -> bool:
    """Return whether the eight-bit product takes a head of this width."""
    return weight.shape[1] % _STEP == 0


@final
class Head:
    """The output head [vocabulary, width]: weights of the model's number format, float32 sums.

    Logits of bfloat16 would be 0.125 apart where they are largest, and choices between them depend
    on how a product happens to round.
    """

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype, forms: Forms) -> None:
        """Keep the weight, memory-mapped float32; the whole product is laid out when first used."""
        self._weight = weight
        self._dtype = dtype
        self._forms = forms
        self._quick = _Quick(weight, dtype) if forms.quick_rows else None

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [n, width] times the transposed weight, float32 [n, vocabulary]."""
        return self._whole(x.float())

    def choices(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Choose for every row of x [n, width].

        Returns:
            The index of its largest logit, [n], -1 where none is a number; and how many rows of
            the head were multiplied beside one reading of it.
        """
        if self._quick is None or len(x) > self._forms.quick_rows:
            return _largest(self.logits(x)), 0
        wide = x.float()
        candidates = self._quick.candidates(wide)
        chosen = torch.tensor(
            [
                -1 if found is None else self._choice(row, found)
                for row, found in zip(wide, candidates, strict=True)
            ],
            dtype=torch.long,
        )
        left = [i for i, found in enumerate(candidates) if found is None]
        if left:
            chosen[left] = _largest(self.logits(wide[left]))
        again = sum(len(found) for found in candidates if found is not None)
        return chosen, again + len(left) * len(self._weight)

    def weight_bytes(self, rows: int, *, whole: bool) -> float:
        """Return the bytes of one weight that a product of so many rows reads."""
        if whole or self._quick is None or rows > self._forms.quick_rows:
            return 4.0
        return 1.0

    @cached_property
    def _whole(self) -> Matrix:
        # beside the eight-bit head one form is enough: it reads wide steps, and rows for sampling
        forms = (
            self._forms if self._quick is None else replace(self._forms, narrow=self._forms.wide)
        )
        return Matrix(self._weight.to(self._dtype).float(), forms)

    def _choice(self, x: torch.Tensor, candidates: torch.Tensor) -> int:
        """Return the candidate with the largest logit, the first one on a tie."""
        logits = F.linear(x, self._weight[candidates].to(self._dtype).float())
        best = logits.max(dim=0)
        return int(candidates[best.indices]) if best.values.isfinite() else -1


def _largest(logits: torch.Tensor) -> torch.Tensor:
    best = logits.max(dim=-1)
    return torch.where(best.values.isfinite(), best.indices, -1)


class _Quick:
    """The head in eight bits, and how far each of its rows is from the true one."""

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype) -> None:
        blocks = [
            _eight_bits(weight[at : at + _BLOCK].to(dtype).float())
            for at in range(0, len(weight), _BLOCK)
        ]
        self._levels, self._scale, self._error, self._norm = (
            torch.cat(field) for field in zip(*blocks, strict=True)
        )
        self._sum = _FLOAT32 * weight.shape[1]
        self._largest_error = float(self._error.max())
        self._largest_norm = float(self._norm.max())

    def candidates(self, x: torch.Tensor) -> list[torch.Tensor | None]:
        """Return for each row of x float32 [n, width] the rows that can hold its largest logit.

        None = too many, or x holds no numbers.
        """
        narrow = x.to(torch.bfloat16)
        near = torch._weight_int8pack_mm(narrow, self._levels, self._scale)
        tops = near.amax(dim=1).float()
        sizes = torch.linalg.vector_norm(x, dim=1)
        lost = torch.linalg.vector_norm(x - narrow.float(), dim=1)
        return [
            self._of_row(row, float(top), float(size), float(off))
            for row, top, size, off in zip(near, tops, sizes, lost, strict=True)
        ]

    def _of_row(
        self, near: torch.Tensor, top: float, size: float, lost: float
    ) -> torch.Tensor | None:
        """Bound each logit; first loosely for all rows, then closely for those near the top."""
        size, lost = _MARGIN * (size + lost), _MARGIN * (lost + self._sum * size)
        loose = _MARGIN * (self._largest_error * size + self._largest_norm * lost) + _TINY
        loose += 2 * _BFLOAT16 * (abs(top) + 2 * loose)
        (found,) = (near >= top - 2 * loose).nonzero(as_tuple=True)
        if not 0 < len(found) <= _MOST:
            return None
        values = near[found].float()
        off = self._error[found] * size + self._norm[found] * lost + 2 * _BFLOAT16 * values.abs()
        off = _MARGIN * off + _TINY
        return found[values + off >= (values - off).max()]


def _eight_bits(
    weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return levels int8 [n, in], scales bfloat16 [n], and the lengths of what is lost and kept."""
    largest = weight.abs().amax(dim=1).clamp_min(1e-20)
    scale = (largest / _LEVELS).to(torch.bfloat16)
    wide = scale.float()[:, None]
    levels = torch.round(weight / wide).clamp_(-_LEVELS - 1, _LEVELS)
    error = _MARGIN * torch.linalg.vector_norm(weight - levels * wide, dim=1)
    norm = _MARGIN * torch.linalg.vector_norm(weight, dim=1)
    return levels.to(torch.int8), scale, error, norm
