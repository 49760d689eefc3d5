"""Cost of a forward pass from a model's shape, and its price from a machine's measured table.

FLOPs count a multiply-add as 2; bytes are weights and cached keys and values read once a pass.
The price of a pass is `fixed + attention sub-layers + MLP sub-layers + output rows`, each part
interpolated in a measured table, so skipped sub-layers are priced at what they save here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rheostat.kernel.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The numbers of a decoder-only transformer that decide its cost."""

    layers: int
    width: int
    """Size of the residual stream."""
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    """Inner size of the gated MLP."""
    vocabulary: int
    context: int
    """Longest sequence the model was made for."""
    tied: bool = True
    """Whether the output head is the embedding."""

    @property
    def qkv_weights(self) -> int:
        """Weights of one attention's query, key and value projections."""
        return self.width * self.head_size * (self.heads + 2 * self.kv_heads)

    @property
    def out_weights(self) -> int:
        """Weights of one attention's output projection."""
        return self.width * self.head_size * self.heads

    @property
    def attention_weights(self) -> int:
        """Weights of one attention: query, key, value and output projections."""
        return self.qkv_weights + self.out_weights

    @property
    def mlp_weights(self) -> int:
        """Weights of one gated MLP."""
        return 3 * self.width * self.inner

    @property
    def head_weights(self) -> int:
        """Weights of the output head."""
        return self.width * self.vocabulary

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(kw_only=True)
class Work:
    """What is counted in the loop: what one request's passes executed."""

    attention_tokens: int = 0
    """Sum over executed attentions of the new tokens they read."""
    mlp_tokens: int = 0
    """Sum over executed MLPs of the new tokens they read."""
    head_tokens: int = 0
    """Rows of logits computed."""
    scores: int = 0
    """Sum over executed attentions of (new tokens x keys they were multiplied with)."""
    keys_read: int = 0
    """Sum over executed attentions of the keys read from the cache."""
    weight_bytes: float = 0
    """Bytes of weights read (a share when a pass served several rows)."""
    others: float = 0
    """Multiply-adds beside these, such as rows of the output head that were read twice."""
    calls: int = 0
    """Forward passes."""
    price: float = 0.0
    """Predicted seconds."""

    def add(self, other: Work) -> None:
        """Add another count to this one."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def work_cost(shape: ModelShape, work: Work, *, cache_bytes: int) -> Cost:
    """Return flops and bytes of counted work; cache entries have `cache_bytes` bytes each.

    Norms, rotary embedding and softmax are not counted (under 1 %).
    """
    linear = (
        work.attention_tokens * shape.attention_weights
        + work.mlp_tokens * shape.mlp_weights
        + work.head_tokens * shape.head_weights
    )
    attention = 2 * work.scores * shape.heads * shape.head_size
    cached = 2 * work.keys_read * shape.kv_heads * shape.head_size
    return Cost(
        flops=2 * (linear + attention) + round(2 * work.others),
        bytes=round(work.weight_bytes) + cached * cache_bytes,
        calls=work.calls,
        price=work.price,
    )


@dataclass(frozen=True, kw_only=True)
class PriceTable:
    """Measured seconds of the parts of a pass over n new tokens, per context length."""

    tokens: tuple[int, ...]
    """The measured n, ascending, starting at 1."""
    contexts: tuple[int, ...]
    """The measured context lengths, ascending."""
    attention: tuple[tuple[float, ...], ...]
    """Seconds of one attention: [context][n]."""
    mlp: tuple[float, ...]
    """Seconds of one MLP: [n]."""
    head: tuple[float, ...]
    """Seconds of the output head over n rows: [n]."""
    fixed: float
    """Seconds of a pass beside its sub-layers: embedding, sampling, Python."""

    def seconds(
        self, n: int, context: int, *, attention: float, mlp: float, head_rows: int
    ) -> float:
        """Price a pass over n tokens after `context` cached ones, with so many sub-layers run."""
        if n <= 0:
            return 0.0
        by_context = [interpolated(self.tokens, row, n) for row in self.attention]
        one_attention = interpolated(self.contexts, by_context, context)
        head = interpolated(self.tokens, self.head, head_rows) if head_rows else 0.0
        return (
            self.fixed
            + attention * one_attention
            + mlp * interpolated(self.tokens, self.mlp, n)
            + head
        )

    def at_least(self, other: PriceTable) -> PriceTable:
        """Return the table with no part cheaper than in another one over the same lengths."""
        assert (self.tokens, self.contexts) == (other.tokens, other.contexts)
        attention = zip(self.attention, other.attention, strict=True)
        return replace(
            self,
            attention=tuple(tuple(map(max, *pair)) for pair in attention),
            mlp=tuple(map(max, self.mlp, other.mlp)),
            head=tuple(map(max, self.head, other.head)),
            fixed=max(self.fixed, other.fixed),
        )

    def mlp_seconds(self, widths: Sequence[int]) -> float:
        """Price MLPs of which each is run for its own number of tokens."""
        return sum(
            count * interpolated(self.tokens, self.mlp, n) for n, count in Counter(widths).items()
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PriceTable:
        """Read what `to_json` wrote (lists become tuples)."""
        return PriceTable(
            tokens=tuple(data["tokens"]),
            contexts=tuple(data["contexts"]),
            attention=tuple(tuple(row) for row in data["attention"]),
            mlp=tuple(data["mlp"]),
            head=tuple(data["head"]),
            fixed=data["fixed"],
        )


def interpolated(at: Sequence[int], values: Sequence[float], x: int) -> float:
    """Interpolate linearly; below the first point its value, beyond the last a straight line.

    Beyond the last point the cost per unit is taken as constant (the line through the last two
    points, never falling); with a single point the value is constant.
    """
    if x <= at[0] or len(at) == 1:
        return values[0]
    right = min(bisect_left(at, x), len(at) - 1)
    left = right - 1
    slope = (values[right] - values[left]) / (at[right] - at[left])
    if x > at[-1]:
        slope = max(slope, 0.0)
        return values[-1] + slope * (x - at[-1])
    return values[left] + slope * (x - at[left])
