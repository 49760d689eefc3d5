"""The output head: all logits, or only the largest one of each row, exactly, from fewer bytes.

Greedy decoding needs the index of the largest logit alone. The head is read in eight bits first;
the rounding of every row's weights, of the activations and of the result bounds how far such a
logit can be off (Cauchy and Schwarz), so the few rows that can still hold the largest one are
multiplied again in float32, and the choice is that of the whole product (ours).
"""

from __future__ import annotations

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
_MARGIN = 1.001
"""For the rounding of the bounds themselves."""
_MOST = 4096
"""With more candidates the whole product is taken."""


@final
class Head:
    """The output head [vocabulary, width]: weights of the model's number format, float32 sums.

    Logits of bfloat16 would be 0.125 apart where they are largest, and choices between them depend
    on how a product happens to round.
    """

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype, forms: Forms) -> None:
        """Keep the weight, memory-mapped float32; what is laid out is made when first needed."""
        self._weight = weight
        self._dtype = dtype
        self._forms = forms
        self._quick = _Quick(weight.to(dtype).float()) if forms.quick_head else None

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [n, width] times the transposed weight, float32 [n, vocabulary]."""
        return self._whole(x.float())

    def choices(self, x: torch.Tensor) -> torch.Tensor:
        """Return the index of the largest logit of every row: [n]; -1 where none is a number."""
        if self._quick is None:
            best = self.logits(x).max(dim=-1)
            return torch.where(best.values.isfinite(), best.indices, -1)
        wide = x.float()
        found = [
            self._choice(row, candidates)
            for row, candidates in zip(wide, self._quick.candidates(wide), strict=True)
        ]
        return torch.tensor(found, dtype=torch.long)

    def weight_bytes(self, rows: int, *, whole: bool) -> float:
        """Return the bytes of one weight that a product of so many rows reads."""
        return 1.0 if self._quick is not None and not whole else self._whole.weight_bytes(rows)

    @cached_property
    def _whole(self) -> Matrix:
        return Matrix(self._weight.to(self._dtype).float(), self._forms)

    def _choice(self, x: torch.Tensor, candidates: torch.Tensor | None) -> int:
        """Return the candidate with the largest logit, the first one on a tie."""
        if candidates is None:
            logits = self.logits(x[None])[0]
            candidates = torch.arange(len(logits))
        else:
            logits = F.linear(x, self._weight[candidates].to(self._dtype).float())
        best = logits.max(dim=0)
        return int(candidates[best.indices]) if best.values.isfinite() else -1


class _Quick:
    """The head in eight bits, and how far each of its rows is from the true one."""

    def __init__(self, weight: torch.Tensor) -> None:
        largest = weight.abs().amax(dim=1).clamp_min(1e-20)
        self._scale = (largest / _LEVELS).to(torch.bfloat16)
        scale = self._scale.float()[:, None]
        levels = torch.round(weight / scale).clamp_(-_LEVELS - 1, _LEVELS)
        self._error = _MARGIN * torch.linalg.vector_norm(weight - levels * scale, dim=1)
        self._norm = _MARGIN * torch.linalg.vector_norm(weight, dim=1)
        self._levels = levels.to(torch.int8)
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
        size, lost = _MARGIN * (size + lost), _MARGIN * lost
        loose = self._largest_error * size + self._largest_norm * lost
        loose += _BFLOAT16 * (abs(top) + 2 * loose)
        (found,) = (near >= top - 2 * loose).nonzero(as_tuple=True)
        if not 0 < len(found) <= _MOST:
            return None
        values = near[found].float()
        off = self._error[found] * size + self._norm[found] * lost + _BFLOAT16 * values.abs()
        off = _MARGIN * off + 1e-6
        return found[values + off >= (values - off).max()]
