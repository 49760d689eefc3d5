"""The output head: all logits, or only the largest one of each row, exactly, from fewer bytes.

Greedy decoding needs the index of the largest logit alone. The head is read in eight bits first,
or in bfloat16 over many rows, with bounds on what that loses; the few tokens that can still be
the choice are multiplied again in float32, and the choice is that of the whole product, up to the
order of its float32 sums (ours).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np
import torch

from rheostat.engines.file_rows import FileRows
from rheostat.engines.mapped_pages import give_back
from rheostat.engines.torch_matrix import CAST, OWN, Matrix
from rheostat.engines.torch_quick_head import QuickHead
from rheostat.engines.torch_scan_head import SCAN_BYTES, ScanHead

if TYPE_CHECKING:
    from pathlib import Path

    from rheostat.engines.torch_matrix import Forms
    from rheostat.engines.torch_quick_head import Candidates


@final
class Head:
    """The output head [vocabulary, width]: weights of the model's number format, float32 sums.

    Logits of bfloat16 would be 0.125 apart where they are largest, and choices between them depend
    on how a product happens to round.
    """

    def __init__(
        self, weight: torch.Tensor, dtype: torch.dtype, forms: Forms, kept: Path | None = None
    ) -> None:
        """Keep the weight, memory-mapped float32; the whole product is laid out when first used.

        Args:
            weight: [vocabulary, width].
            dtype: the model's number format.
            forms: which readings there are.
            kept: where the compiled scan's form is kept; None = nowhere.
        """
        self._weight = weight
        self._rows = FileRows(weight)
        self._dtype = dtype
        self._forms = forms
        self._eight: QuickHead | ScanHead | None = None
        if forms.quick_rows:
            own = forms.quick_own
            self._eight = ScanHead(weight, dtype, kept) if own else QuickHead(weight, dtype, bits=8)
        half = forms.half_rows > forms.quick_rows
        self._half = QuickHead(weight, dtype, bits=16) if half else None

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [n, width] times the transposed weight, float32 [n, vocabulary]."""
        return self._whole.in_float32(x)

    def choices(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Choose for every row of x [n, width].

        Returns:
            The index of its largest logit, [n], -1 where none is a number; and how many rows of
            the head were multiplied beside one reading of it.
        """
        quick = self._quick(len(x))
        if quick is None:
            return largest(self.logits(x)), 0
        wide = x.float()
        found = quick.candidates(wide)
        if len(found.tokens) == len(x) and not found.open:  # one each: nothing is left to compare
            return found.tokens, 0
        chosen = self._best(wide, found)
        if found.open:
            chosen[found.open] = largest(self.logits(wide[found.open]))
        return chosen, len(found.tokens) + len(found.open) * len(self._weight)

    def weight_bytes(self, rows: int, *, whole: bool) -> float:
        """Return the bytes of one weight that a product of so many rows reads."""
        quick = None if whole else self._quick(rows)
        if quick is None:
            return self._whole.weight_bytes(rows)
        if quick is self._half:
            return 2.0
        return SCAN_BYTES if isinstance(quick, ScanHead) else 1.0

    def _quick(self, rows: int) -> QuickHead | ScanHead | None:
        """Return the reading for so many rows; None = the whole product."""
        if rows <= self._forms.quick_rows:
            return self._eight
        return self._half if rows <= self._forms.half_rows else None

    @cached_property
    def _whole(self) -> Matrix:
        # beside a quick head one form is enough: it reads wide steps, and rows for sampling
        quick = self._eight or self._half
        forms = self._forms if quick is None else replace(self._forms, narrow=self._forms.wide)
        if forms.wide in (*OWN, *CAST):  # products in float32, whatever the weights are held in
            whole = Matrix(self._weight, replace(forms, narrow=forms.wide), self._dtype)
        else:
            whole = Matrix(self._weight.to(self._dtype).float(), forms)
        give_back([self._weight])
        return whole

    def _best(self, x: torch.Tensor, found: Candidates) -> torch.Tensor:
        """Return each row's candidate with the largest logit, the first one on a tie; -1 = none."""
        tokens = found.tokens.tolist()
        weights = self._rows(tokens).to(self._dtype).float().numpy()
        rows = found.rows.numpy()
        logits = np.einsum("ij,ij->i", x.numpy()[rows], weights)
        best = [(-math.inf, 0, -1)] * len(x)
        for row, token, logit in zip(rows.tolist(), tokens, logits.tolist(), strict=True):
            if math.isfinite(logit):
                best[row] = max(best[row], (logit, -token, token))
        return torch.tensor([token for _, _, token in best])


def largest(logits: torch.Tensor) -> torch.Tensor:
    """Return the index of each row's largest logit; -1 where that is no number."""
    best = logits.max(dim=-1)
    return torch.where(best.values.isfinite(), best.indices, -1)
