"""FFN-SkipLLM: a token whose MLP hardly turned its state omits the next MLPs (arXiv 2404.03865).

In the middle layers, after an MLP ran: c = cos(h, h + MLP(h)); when c >= tau, the next K MLPs are
omitted for this token. The first and last layers, the prompt and the first w generated tokens
always run in full; attention always runs, so the cache is complete.

Ours: K = 1 instead of running greedily to the end of the region (K = 0), because c does not rise
monotonically in small models; and the dial: tau is the quantile that a share dial x max_rate of
the measured (token, middle layer) pairs exceeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.quantiles import threshold
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Bools, Floats, Ints


@final
@dataclass(frozen=True, kw_only=True)
class FfnSkip:
    """Omits MLPs after one that hardly turned the token's state."""

    warmup: int = 4
    """Generated tokens that run in full before the first omission."""
    cold_first: int = 2
    """First layers that always run."""
    cold_last: int = 5
    """Last layers that always run."""
    skip: int = 1
    """MLPs omitted after a trigger; 0 = all up to the last layers."""
    max_rate: float = 0.5
    """Share of the measured cosines that trigger at dial 1."""

    card: ClassVar[Card] = Card(
        name="ffn_skip",
        title="omits the MLPs after one that hardly turned the token's state",
        seam="depth",
        exactness="lossy",
        paper="arXiv:2404.03865",
        paper_title=(
            "FFN-SkipLLM: A Hidden Gem for Autoregressive Decoding with Adaptive "
            "Feed Forward Skipping"
        ),
        authors=(
            "Ajay Jaiswal, Bodun Hu, Lu Yin, Yeonju Ro, Shiwei Liu, Tianlong Chen, Aditya Akella"
        ),
        needs=frozenset({"depth.mlp", "signal.mlp_cosine"}),
        reads=frozenset({"redundancy"}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("warmup", "cold_first", "cold_last", "skip"):
            if getattr(self, name) < 0:
                raise MethodError(f"`ffn_skip.{name}` must be 0 or more")
        if not 0.0 < self.max_rate <= 1.0:
            raise MethodError(f"`ffn_skip.max_rate` must be in (0, 1], got `{self.max_rate}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Take the quantiles of the cosine, a list a layer."""
        try:
            quantiles = profile["redundancy"]["mlp"]["similarity_quantiles"]
            return {"quantiles": [[float(q) for q in layer] for layer in quantiles]}
        except (KeyError, TypeError, ValueError):
            raise MethodError(
                "`ffn_skip` found no quantiles of the MLPs' cosines in the profile",
                hint="measure them with `rheostat profile MODEL --out profile.json`",
            ) from None

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Depth:
        """Return the decision with the dial's threshold; dial 0 decides nothing."""
        layout = Layout.full(shape.layers)
        if dial == 0.0:
            return Depth(layout)
        quantiles = fitted.get("quantiles", ())
        if len(quantiles) != shape.layers or not all(len(layer) > 1 for layer in quantiles):
            raise MethodError(
                f"`ffn_skip` needs quantiles of this model's {shape.layers} MLPs, "
                f"the plan holds {len(quantiles)} lists",
                hint="make the plan again with `rheostat plan` for this model",
            )
        first, end = self.cold_first, shape.layers - self.cold_last
        if end - first < 2:
            raise MethodError(
                f"`ffn_skip` has nothing to omit in {shape.layers} layers: the first "
                f"{self.cold_first} and the last {self.cold_last} always run",
                hint="lower `ffn_skip.cold_first` and `ffn_skip.cold_last` with `--param`",
            )
        middle = quantiles[first:end]
        if not all(np.isfinite(layer).all() for layer in middle):
            raise MethodError("`ffn_skip` found a quantile that is not a finite number")
        tau = threshold(middle, dial * self.max_rate)
        return Depth(layout, SkipPolicy(method=self, tau=tau, first=first, end=end))


@dataclass(frozen=True, kw_only=True)
class SkipState:
    """One entry a token of the pass."""

    warm: Bools
    """Whether the token may omit MLPs at all."""
    resumes: Ints
    """First layer at which the token runs again."""


@final
@dataclass(frozen=True, kw_only=True)
class SkipPolicy:
    """FFN-SkipLLM at a threshold; each decision depends on its own token only."""

    method: FfnSkip
    tau: float
    """Cosine from which the next MLPs are omitted."""
    first: int
    """First middle layer."""
    end: int
    """Layer after the last middle layer."""

    def begin(self, generated: Ints) -> SkipState:
        """Start a pass in which every token still runs."""
        warm = np.asarray(generated) >= self.method.warmup
        return SkipState(warm=warm, resumes=np.zeros(len(generated), dtype=np.int64))

    def runs(self, layer: int, state: SkipState) -> Bools | None:
        """Return which tokens run this MLP."""
        if not self.first < layer < self.end:
            return None
        running: Bools = state.resumes <= layer
        return None if running.all() else running

    def watches(self, layer: int) -> bool:
        """Watch every middle layer that has another one after it."""
        return self.first <= layer < self.end - 1

    def observe(self, layer: int, ran: Bools | None, cosine: Floats, state: SkipState) -> SkipState:
        """Let the tokens at or over the threshold omit the next MLPs (NaN never is)."""
        triggered = np.asarray(cosine) >= self.tau
        if not triggered.any():
            return state
        tokens = np.flatnonzero(triggered) if ran is None else np.flatnonzero(ran)[triggered]
        last = self.end if self.method.skip == 0 else min(layer + 1 + self.method.skip, self.end)
        state.resumes[tokens[state.warm[tokens]]] = last
        return state
