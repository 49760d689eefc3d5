"""The matrices of a `transformers` module, laid out a second time for steps over few tokens.

A single row is bound by reading the weights, and how fast that is depends on their layout
(`torch_matrix`). While such a step runs, the module's linear layers multiply by the second layout;
wider steps, and the module itself, keep the first. Where memory would not hold both, there is one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from rheostat.engines.enough_memory import free_bytes
from rheostat.engines.torch_forms import choose
from rheostat.engines.torch_matrix import laid_out, multiplied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rheostat.engines.torch_matrix import FormName, Forms

TIMED = 64_000_000
"""Weights that the layouts are timed on, more than a processor's caches hold."""
ROOM = 2
"""How many times a second layout has to fit into the free memory."""


@final
class HostedMatrices:
    """The linear layers of a module, its head left out."""

    def __init__(self, module: nn.Module, head: nn.Module | None) -> None:
        """Find them; nothing is laid out before `lay_out`."""
        kinds = (nn.Linear, Conv1D)  # themselves: a subclass may compute something else
        self._linears: list[Any] = [
            m for m in module.modules() if type(m) in kinds and m is not head
        ]
        self._forwards: list[tuple[dict[str, Any], Callable[..., torch.Tensor]]] = []
        self._most = 0

    def chosen(self, forms: Forms) -> Forms:
        """Return the forms with the fastest ones for these matrices, timed here."""
        timed, size = [], 0
        for linear in self._linears:
            timed.append(_weight(linear).contiguous())
            size += timed[-1].numel()
            if size >= TIMED:
                break
        if not timed:
            return forms
        found = choose(timed)
        return replace(forms, narrow=found.narrow, narrow_rows=found.narrow_rows, wide="plain")

    def lay_out(self, forms: Forms) -> None:
        """Hold the matrices in the narrow form as well, unless it is the module's own."""
        self._forwards, self._most = [], forms.narrow_rows
        size = sum(linear.weight.numel() * linear.weight.itemsize for linear in self._linears)
        free = free_bytes()
        if forms.narrow == "plain" or (free is not None and ROOM * size > free):
            return
        self._forwards = [(vars(m), _multiplying(m, forms.narrow)) for m in self._linears]

    @contextmanager
    def within(self, rows: int) -> Iterator[None]:
        """Multiply by the second layout in a pass over so few rows; then all is as it was."""
        used = self._forwards if rows <= self._most else []
        for held, forward in used:
            held["forward"] = forward
        try:
            yield
        finally:
            for held, _ in used:
                del held["forward"]


def _weight(linear: Any) -> torch.Tensor:
    """Return the weight [out, in]."""
    weight: torch.Tensor = linear.weight.detach()
    return weight.t() if isinstance(linear, Conv1D) else weight


def _multiplying(linear: Any, form: FormName) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what a linear layer computes, by a matrix in another form."""
    weight = _weight(linear)
    held = laid_out(weight if form == "transposed" else weight.contiguous(), form)
    bias = None if linear.bias is None else linear.bias.detach()
    size = weight.shape[0]

    def forward(x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        out = multiplied(rows, held, form)
        if bias is not None:
            out += bias
        return out.view(*x.shape[:-1], size)

    return forward
