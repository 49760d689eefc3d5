"""Weight matrices held in the form that multiplies fastest on this processor.

The same numbers can be laid out in several ways, and which is fastest depends on the processor
and on how many rows are multiplied at once: a single row reads the weights once and is bound by
memory, many rows want blocked kernels. One form is held where it is about the fastest for all
widths, else one for narrow steps and one for wide ones; they are chosen by measurement at start-up
and cached per machine. All forms hold exactly the same values; products are accumulated in
float32, so results differ by rounding alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, final

import torch
import torch.nn.functional as F

from rheostat.engines.torch_fixed_rows import ROWS, multiplied_in_fixed_rows, padded
from rheostat.engines.torch_float_ops import float_ops, float_product, in_panels

if TYPE_CHECKING:
    from collections.abc import Mapping

FormName = Literal[
    "plain",
    "transposed",
    "packed",
    "packed32",
    "own",
    "cast",
    "cast_own",
    "fixed",
    "fixed_own",
]
"""The first five hold the same numbers and are chosen by measurement; `own` is multiplied by our
own compiled product (`torch_float_ops`). `cast` is LayerCast (arXiv:2506.09501): bfloat16 held,
widened to float32 just before each product, which is in float32; `cast_own` is the same by our
product. `fixed` multiplies over a fixed number of rows (`torch_fixed_rows`); `fixed_own` is our
product, which needs none."""

CAST: tuple[FormName, ...] = ("cast", "cast_own")
"""Forms whose weights are rounded to bfloat16, and nothing else of the model."""
OWN: tuple[FormName, ...] = ("own", "cast_own", "fixed_own")
"""Forms of our own product."""
FIXED: tuple[FormName, ...] = ("fixed", "fixed_own")
"""Forms of a model whose arithmetic of a token is the same in every pass."""

MOST_ROWS = 1 << 30
"""No product has more rows."""

CAST_ROWS = 1024
"""Rows of a matrix that are widened at once."""

BFLOAT16_MARGIN = 0.5
"""Two largest logits nearer than this may change places where layers round to bfloat16 (formats
`bfloat16` and `gguf`), with another form, number of rows or library. Against float32 on
SmolLM2-135M, places changed up to a margin of 0.31 with bfloat16 logits, and 0.29 in
`transformers`; logits are float32 here since."""


@dataclass(frozen=True)
class Forms:
    """Which form multiplies up to `narrow_rows` rows, and which one more than that."""

    narrow: FormName = "plain"
    wide: FormName = "plain"
    narrow_rows: int = 1
    quick_rows: int = 0
    """Up to so many rows greedy choices are found in an eight-bit head first,"""
    quick_own: bool = False
    """by our own compiled scan or by torch's product,"""
    half_rows: int = 0
    """and from there up to so many in a bfloat16 one."""
    level_own: bool = False
    """Whether four-bit matrices are multiplied by our own compiled product, not by torch's."""
    level_rows: int = MOST_ROWS
    """Up to so many rows four-bit matrices are multiplied as they are, and from there on in"""
    level_wide: FormName = "packed"
    """this form of bfloat16 values."""

    def held(self, dtype: torch.dtype) -> torch.dtype:
        """Return the format of the weights of a model whose activations are in this one."""
        return torch.bfloat16 if self.narrow in CAST else dtype

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Forms:
        """Read what `to_json` wrote."""
        return Forms(**{field.name: data[field.name] for field in fields(Forms)})


def candidates(dtype: torch.dtype) -> tuple[FormName, ...]:
    """Return the forms that torch can multiply in this number format on this processor."""
    taken = dtype in (torch.float32, torch.bfloat16) and float_ops().library is not None
    own: tuple[FormName, ...] = ("own",) if taken else ()
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch's own
        return ("plain", "transposed", *own)
    if dtype != torch.bfloat16:
        return ("plain", "transposed", "packed", *own)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return ("plain", "transposed", "packed", "packed32", *own)
    return ("plain", "transposed", "packed32", *own)


def cast_candidates() -> tuple[FormName, ...]:
    """Return the forms in which LayerCast can be multiplied on this processor."""
    return CAST if float_ops().library is not None else ("cast",)


def laid_out(
    weight: torch.Tensor, form: FormName, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return the weight [out, in] in a form; `plain` returns the same tensor.

    Args:
        dtype: the number format that it is brought to first; None = its own.
    """
    if form in OWN:
        return in_panels(weight, torch.bfloat16 if form in CAST else dtype or weight.dtype)
    weight = weight if dtype is None else weight.to(dtype)
    if form in ("plain", "fixed"):
        return weight
    if form == "transposed":
        return weight.t().contiguous()
    if form == "cast":
        return weight.to(torch.bfloat16)
    source = weight.float() if form == "packed32" else weight
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(source, 16)
    return packed


def multiplied(x: torch.Tensor, held: torch.Tensor, form: FormName) -> torch.Tensor:
    """Return x [n, in] times the transposed weight: [n, out], in x's number format."""
    if form == "plain":
        return F.linear(x, held)
    if form == "transposed":
        return torch.mm(x, held)
    if form in OWN:
        return float_product(x, held, x.dtype)
    if form == "cast":
        blocks = held.split(CAST_ROWS)  # type: ignore[no-untyped-call]  # torch's own
        parts = [F.linear(x, block.float()) for block in blocks]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    if form == "fixed":
        return multiplied_in_fixed_rows(x, held)
    if form == "packed":
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, held, None, "none", [], "")
        return product
    # float32 arithmetic on bfloat16 values: what a bfloat16 unit does, on processors without one
    wide: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x.float(), held, None, "none", [], "")
    return wide.to(x.dtype)


@final
class Matrix:
    """A weight [out, in] in its narrow and its wide form."""

    def __init__(
        self, weight: torch.Tensor, forms: Forms, dtype: torch.dtype | None = None
    ) -> None:
        """Lay the weight out, as `laid_out` does; a form used for both widths is held once."""
        self._forms = forms
        self._narrow = laid_out(weight, forms.narrow, dtype)
        same = forms.wide == forms.narrow
        self._wide = self._narrow if same else laid_out(weight, forms.wide, dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [n, in] times the transposed weight: [n, out]."""
        if x.shape[0] <= self._forms.narrow_rows:
            return multiplied(x, self._narrow, self._forms.narrow)
        return multiplied(x, self._wide, self._forms.wide)

    def in_float32(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same in float32, whatever x's format is."""
        if self._forms.narrow == self._forms.wide and self._forms.narrow in OWN:
            return float_product(x, self._narrow)
        return self(x.float())

    def weight_bytes(self, rows: int) -> float:
        """Return the bytes of one weight that a product of so many rows reads."""
        narrow = rows <= self._forms.narrow_rows
        form = self._forms.narrow if narrow else self._forms.wide
        if form == "cast":
            return 4.0  # as widened
        size = (self._narrow if narrow else self._wide).element_size()
        return float(size * padded(rows) // ROWS if form == "fixed" else size)
