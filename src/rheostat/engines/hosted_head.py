"""The output head of a `transformers` module, read in few bits where the choice alone is wanted.

Whether logits are the head's product and nothing else is found by trying. Where they are, a greedy
pass takes what enters the head, and `torch_head` finds the largest logit from fewer bytes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn

from rheostat.engines.hosted_layers import replaced
from rheostat.engines.torch_forms import with_head
from rheostat.engines.torch_head import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rheostat.engines.torch_matrix import Forms


@final
class HostedHead:
    """A head whose product is the module's logits."""

    def __init__(self, linear: nn.Linear) -> None:
        """Take the module's own; nothing is laid out before `lay_out`."""
        self._linear = linear
        self._weight = linear.weight.detach()
        self._most = 0
        self._head: Head | None = None

    def chosen(self, forms: Forms) -> Forms:
        """Return the forms with the fastest quick readings of the head, timed here."""
        return with_head(self._weight.float(), self._weight.dtype, forms)

    def lay_out(self, forms: Forms) -> None:
        """Hold the head in the forms of its quick readings."""
        self._most = max(forms.quick_rows, forms.half_rows)
        self._head = Head(self._weight, self._weight.dtype, forms) if self._most else None

    def takes(self, rows: int) -> bool:
        """Return whether the choices of so many rows are found quickly."""
        return 0 < rows <= self._most

    @contextmanager
    def caught(self) -> Iterator[list[torch.Tensor]]:
        """Keep what enters the head, which gives a stand-in for the logits meanwhile."""
        seen: list[torch.Tensor] = []

        def forward(x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x[..., :1]

        with replaced(self._linear, forward):
            yield seen

    def choices(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """As of `torch_head.Head.choices`, of rows that it takes."""
        assert self._head is not None
        return self._head.choices(x)

    def weight_bytes(self, rows: int) -> float:
        """Return the bytes of one weight that choosing for so many rows reads."""
        if self._head is None or not self.takes(rows):
            return float(self._weight.itemsize)
        return self._head.weight_bytes(rows, whole=False)


def found_head(module: Any, run: Callable[[], torch.Tensor]) -> HostedHead | None:
    """Return the head of a module; None where its logits are more than the head's product.

    Args:
        run: returns the module's logits of a few tokens, [n, vocabulary].
    """
    linear = module.get_output_embeddings()
    if not isinstance(linear, nn.Linear) or linear.bias is not None:
        return None
    head, own, given = HostedHead(linear), linear.forward, []

    def forward(x: torch.Tensor) -> torch.Tensor:
        given.append(own(x))
        return given[-1]

    with replaced(linear, forward):
        logits = run()
    if len(given) != 1 or not torch.equal(given[0][0], logits):
        return None
    try:
        with head.caught():
            run()
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None  # it goes on with what is no logits there
    return head
