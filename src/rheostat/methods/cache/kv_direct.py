"""KV-Direct: older tokens are held as the residual stream, and rebuilt exactly (arXiv 2603.19664).

A layer's keys and values are linear in what its attention reads, K = turn(W_k norm(h)) and
V = W_v norm(h), so h can be kept in their place: older tokens keep `width` numbers a layer, the
newest keep keys and values as well. The paper's sizes are those of one vector for all layers, from
which deeper layers can only be had by reading the text again; this is the variant that computes
each layer's by itself (ours). What it saves is the shape's: with as many key-value heads as query
heads half of the cache, with shared heads nothing: 576 numbers for 384 on SmolLM2. Keys and values
are written by the padded blocks that rebuild them, so what is rebuilt is what was held, bit by bit;
a whole cache's differ by rounding alone, and by no bit under `--dtype reproducible`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.kv_cache import CachePlan, Checkpoints
from rheostat.kernel.method import Card

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class KvDirect:
    """Holds older tokens as the residual stream."""

    window: int = 32
    """Newest tokens that keep their keys and values at every dial."""
    every: int = 64
    """Tokens between two borders, where older keys and values are let go."""

    card: ClassVar[Card] = Card(
        name="kv_direct",
        title="holds older tokens as the residual stream and rebuilds keys and values",
        seam="cache",
        exactness="distribution",
        paper="arXiv:2603.19664",
        paper_title="The Residual Stream Is All You Need: On the Redundancy of the KV Cache in "
        "Transformer Inference",
        authors="Kaleem Ullah Qasim, Jiashu Zhang, Muhammad Kafeel Shaheen, Razan Alharith, "
        "Heying Zhang",
        needs=frozenset({"cache.residuals"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("window", "every"):
            if getattr(self, name) < 1:
                raise MethodError(f"`kv_direct.{name}` must be at least 1")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> CachePlan | None:
        """Hold a share of 1 - dial of the tokens as keys and values."""
        if dial == 0:
            return None
        return CachePlan(
            checkpoints=Checkpoints(share=1 - dial, window=self.window, every=self.every)
        )
