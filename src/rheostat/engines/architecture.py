"""What tells decoder-only transformers of one family apart, as data: one loop serves them all.

Shapes that share llama's skeleton (norm, attention, residual; norm, gated MLP, residual) differ in
a few places: biases, norms of heads, norms behind sub-layers, windows, rotation, activation.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True, kw_only=True)
class Rope:
    """A rotary position embedding (arXiv:2104.09864) of the first dimensions of a head."""

    frequencies: tuple[float, ...]
    """Radians a position, one for each rotated pair."""
    scale: float = 1.0
    """By which queries and keys grow besides (YaRN's attention factor)."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How the sub-layers of a model are made."""

    eps: float
    """Of the norms."""
    ropes: tuple[Rope, ...]
    rope_of: tuple[int, ...]
    """For each layer which of them."""
    windows: tuple[int, ...]
    """For each layer the keys that a query sees, itself included; 0 = all of them."""
    activation: Activation = "silu"
    biases: bool = False
    """Whether queries, keys and values have biases."""
    head_norms: bool = False
    """Whether queries and keys are normed head by head before they are turned."""
    post_norms: bool = False
    """Whether what a sub-layer adds to the stream is normed."""
    embedding_scale: float = 1.0
    score_scale: float | None = None
    """Factor of attention scores; None = 1 / sqrt(head size)."""
    score_cap: float = 0.0
    """Attention scores s become cap * tanh(s / cap); 0 = they stay as they are."""
    logit_cap: float = 0.0
    """And so the logits."""

    @property
    def rotated(self) -> int:
        """Dimensions of a head that are rotated."""
        return 2 * len(self.ropes[0].frequencies)

    @property
    def kinds(self) -> tuple[tuple[int, int], ...]:
        """For each layer its attention's rotary embedding and window."""
        return tuple(zip(self.rope_of, self.windows, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Architecture:
        """Read what `to_json` wrote."""
        ropes = tuple(
            Rope(frequencies=tuple(r["frequencies"]), scale=r["scale"]) for r in data["ropes"]
        )
        lists = {name: tuple(data[name]) for name in ("rope_of", "windows")}
        return Architecture(**{**data, **lists, "ropes": ropes})

    def is_plain(self, head_size: int) -> bool:
        """Return whether it is llama's own: nothing besides the skeleton."""
        plain = llama(layers=len(self.rope_of), eps=self.eps, rope=self.ropes[0])
        return self == plain and self.rotated == head_size and self.ropes[0].scale == 1


def llama(*, layers: int, eps: float, rope: Rope) -> Architecture:
    """Return llama's own architecture."""
    return Architecture(eps=eps, ropes=(rope,), rope_of=(0,) * layers, windows=(0,) * layers)


def rope_of(rotated: int, theta: float) -> Rope:
    """Return a rotary embedding without scaling, computed in float32 as models are trained."""
    exponents = torch.arange(0, rotated, 2, dtype=torch.float32) / rotated
    return Rope(frequencies=tuple((1.0 / theta**exponents).tolist()))


def kind_of(scaling: Mapping[str, object]) -> str:
    """Return how a rotary embedding is scaled, by the entries of a model's configuration."""
    return str(scaling.get("rope_type", scaling.get("type", "default")))


def scaled_rope(rotated: int, theta: float, scaling: Mapping[str, object], context: int) -> Rope:
    """Return a rotary embedding whose frequencies are scaled for longer contexts.

    Known ways: `default`, `linear` (position interpolation, arXiv:2306.15595), `llama3` (Llama 3.1:
    long waves are slowed down, short ones kept, those between are blended) and `yarn`
    (arXiv:2309.00071).

    Args:
        scaling: the entries of a model's configuration, `rope_type` among them.
        context: the longest sequence that the configuration names.

    Raises:
        KeyError: an entry is missing.
        ValueError: the way of scaling is not known.
    """
    plain = rope_of(rotated, theta)
    kind = kind_of(scaling)
    if kind == "default":
        return plain
    if kind not in ("linear", "llama3", "yarn"):
        raise ValueError(kind)
    original = _number(scaling, "original_max_position_embeddings", float(context))
    derived = kind == "yarn" and "factor" in scaling  # `null`: that which the lengths have
    factor = _number(scaling, "factor", context / original if derived else None)
    if kind == "linear":
        return Rope(frequencies=tuple(f / factor for f in plain.frequencies))
    if kind == "llama3":
        low, high = _number(scaling, "low_freq_factor"), _number(scaling, "high_freq_factor")
        return Rope(
            frequencies=tuple(
                _llama3(f, factor=factor, low=low, high=high, original=original)
                for f in plain.frequencies
            )
        )
    return _yarn(plain, theta, scaling, factor=factor, original=original)


def _llama3(frequency: float, *, factor: float, low: float, high: float, original: float) -> float:
    turns = original * frequency / (2 * math.pi)
    kept = min(max((turns - low) / (high - low), 0.0), 1.0)
    return kept * frequency + (1 - kept) * frequency / factor


def _yarn(
    plain: Rope, theta: float, scaling: Mapping[str, object], *, factor: float, original: float
) -> Rope:
    pairs = len(plain.frequencies)

    def place(turns: float) -> float:
        """Return the pair that makes so many turns within the original context."""
        return pairs * math.log(original / (turns * 2 * math.pi)) / math.log(theta)

    first = place(_number(scaling, "beta_fast", 32.0))
    last = place(_number(scaling, "beta_slow", 1.0))
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * pairs - 1)
    width = last - first or 0.001
    slowed = [min(max((i - first) / width, 0.0), 1.0) for i in range(pairs)]
    frequencies = tuple(
        f * (1 - share) + f / factor * share
        for f, share in zip(plain.frequencies, slowed, strict=True)
    )
    return Rope(frequencies=frequencies, scale=_yarn_scale(scaling, factor))


def _yarn_scale(scaling: Mapping[str, object], factor: float) -> float:
    given = scaling.get("attention_factor")
    if given is not None:
        return float(given)  # type: ignore[arg-type]  # a number, else it raises
    above, below = scaling.get("mscale"), scaling.get("mscale_all_dim")

    def grown(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1.0 if factor > 1 else 1.0

    if above and below:
        return grown(float(above)) / grown(float(below))  # type: ignore[arg-type]
    return grown(1.0)


def _number(scaling: Mapping[str, object], name: str, default: float | None = None) -> float:
    found = scaling.get(name)
    if found is None and default is not None:
        return default
    if found is None:
        raise KeyError(name)
    return float(found)  # type: ignore[arg-type]  # a number, else it raises
