"""The acceptance head of SpecDec++ on torch: from a draft's last hidden state to a probability.

x <- x / rms(x), then x <- x + SiLU(W x + b) for each block, then sigmoid(u x + c): the linear layer
to two logits and their softmax, of which only the difference matters. Float32. A head is kept in
the cache folder as safetensors, under the digest of its file.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.errors import MethodError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BLOCKS = 3


@final
class AcceptanceHead:
    """The head's weights, each block with its own."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the tensors by name: `block.0.weight` [d, d] ... `out.weight` [1, d]."""
        self.tensors = dict(tensors)
        self._blocks = [
            (tensors[f"block.{i}.weight"], tensors[f"block.{i}.bias"]) for i in range(BLOCKS)
        ]

    @staticmethod
    def new(width: int, *, seed: int) -> AcceptanceHead:
        """Return an untrained head: its blocks change nothing much yet."""
        draw = torch.Generator().manual_seed(seed)
        tensors = {"out.weight": torch.zeros(1, width), "out.bias": torch.zeros(1)}
        for i in range(BLOCKS):
            weight = torch.randn(width, width, generator=draw) * width**-0.5
            tensors |= {f"block.{i}.weight": weight, f"block.{i}.bias": torch.zeros(width)}
        return AcceptanceHead(tensors)

    @property
    def weights(self) -> int:
        """Multiply-adds of one token."""
        return sum(t.numel() for t in self.tensors.values() if t.ndim == 2)

    @property
    def width(self) -> int:
        """Size of the hidden state."""
        return self.tensors["out.weight"].shape[1]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-odds of acceptance for hidden states x [n, width]: [n], float32."""
        x = F.rms_norm(x.float(), (self.width,))
        for weight, bias in self._blocks:
            x = x + F.silu(F.linear(x, weight) + bias)
        out: torch.Tensor = F.linear(x, self.tensors["out.weight"])[:, 0] + self.tensors["out.bias"]
        return out

    @torch.inference_mode()
    def scores(self, x: torch.Tensor) -> Sequence[float]:
        """Return the probabilities of acceptance, [n]."""
        values: list[float] = self.logits(x).sigmoid().tolist()
        return values


def saved_head(head: AcceptanceHead) -> str:
    """Keep a head in the cache folder and return its digest."""
    data = save({name: t.detach().contiguous() for name, t in head.tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    with whole_file(_path(digest)) as partial:
        partial.write_bytes(data)
    return digest


def loaded_head(digest: str) -> AcceptanceHead:
    """Return a kept head; raise `MethodError` when it is not on this machine or damaged."""
    return _loaded(_path(digest))


@cache  # a file is named by its digest and never changes
def _loaded(path: Path) -> AcceptanceHead:
    try:
        intact = hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        tensors = load_file(path) if intact else {}
    except (OSError, SafetensorError):
        intact = False
    if not intact:
        raise MethodError(
            f"the acceptance head `{path}` is missing or damaged",
            hint="train it again with `rheostat profile MODEL --acceptance --out profile.json`",
        )
    return AcceptanceHead(tensors)


def _path(digest: str) -> Path:
    return cache_folder() / "heads" / f"{digest}.safetensors"
