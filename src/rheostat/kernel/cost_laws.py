"""Laws that put reading, writing and attention in one unit: Kinetics eFLOPs, and prefill tokens.

Kinetics (arXiv 2506.05333) counts FLOPs and adds memory traffic at so many FLOPs a byte; weights
are taken as read once for a large batch, `weight_bytes` adds them for a small one (ours).
PTE (arXiv 2604.05404) counts in tokens read: a written token is worth `step + context x length`
of them. The paper has no `step`, which is right for large batches; with one sequence at a time
reading the weights is most of a step, so here both numbers are fitted to measured passes (ours).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rheostat.kernel.model_cost import ModelShape, PriceTable

INTENSITY = 562.5
"""FLOPs that take as long as reading a byte, in the paper; a processor has a few."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Answers to one prompt."""

    prompt: int
    """Tokens read, shared by all answers."""
    new: int
    """Tokens of each answer."""
    answers: int = 1
    kept: int | None = None
    """Most cached tokens that a new one attends to; None = all."""


def effective_flops(
    shape: ModelShape,
    made: Generation,
    *,
    intensity: float = INTENSITY,
    entry_bytes: int = 2,
    weight_bytes: float = 0.0,
) -> float:
    """Return the eFLOPs of writing the answers; reading the prompt is left out, as in the paper.

    Args:
        shape: of the model.
        made: what is written.
        intensity: FLOPs a byte of memory traffic.
        entry_bytes: bytes of a number in the cache.
        weight_bytes: bytes of weights read for a token of one answer; 0 = a large batch.
    """
    weights = shape.layers * (shape.attention_weights + shape.mlp_weights) + shape.head_weights
    queries = shape.heads * shape.head_size * shape.layers
    entries = shape.kv_heads * shape.head_size * shape.layers
    attended = attended_tokens(made)
    flops = made.answers * (2 * weights * made.new + 4 * attended * queries)
    read = made.answers * attended
    if made.kept is None:  # the prompt's cache is read once for all answers
        read -= (made.answers - 1) * made.prompt * made.new
    memory = 2 * read * entries * entry_bytes + made.answers * made.new * weight_bytes
    return flops + intensity * memory


def reading_flops(shape: ModelShape, tokens: int, context: int) -> float:
    """Return the FLOPs of reading tokens behind a context in one pass, one row of the head."""
    weights = shape.layers * (shape.attention_weights + shape.mlp_weights)
    pairs = tokens * (context + tokens / 2)
    queries = shape.heads * shape.head_size * shape.layers
    return 2 * weights * tokens + 4 * pairs * queries + 2 * shape.head_weights


def attended_tokens(made: Generation) -> float:
    """Return the sum over new tokens of the cached tokens that each attends to.

    The paper's integral form: without a limit `new x (prompt + new / 2)`.
    """
    c, n = made.prompt, made.new
    if made.kept is None:
        return n * (c + n / 2)
    below = min(n, max(0, made.kept - c))
    return below * (c + below / 2) + made.kept * (n - below)


@dataclass(frozen=True, kw_only=True)
class Round:
    """A stretch of a trajectory: something is read, then something is written."""

    read: int
    """Tokens read anew: the new ones where the cache was kept, else the whole context."""
    written: int
    context: int
    """Tokens in the cache when writing begins."""


@dataclass(frozen=True, kw_only=True)
class PrefillEquivalents:
    """What a written token costs, in tokens read."""

    step: float
    """Of a written token, whatever the context."""
    context: float
    """For each token of the context."""

    def tokens(self, rounds: Iterable[Round]) -> float:
        """Return prefill-token equivalents; the context grows while tokens are written."""
        return sum(
            r.read + (self.step + self.context * (r.context + r.written / 2)) * r.written
            for r in rounds
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def large_batch(shape: ModelShape, intensity: float) -> PrefillEquivalents:
    """Return the paper's form, with the heads that are cached in place of the width."""
    weights = shape.layers * (shape.attention_weights + shape.mlp_weights) + shape.head_weights
    cached = 2 * shape.layers * shape.kv_heads * shape.head_size
    return PrefillEquivalents(step=0.0, context=cached * intensity / weights)


def fitted(
    shape: ModelShape, prices: PriceTable, *, contexts: Sequence[int], read: int = 128
) -> tuple[PrefillEquivalents, float]:
    """Fit the two numbers to a machine's price table by least squares.

    Args:
        shape: of the model.
        prices: measured seconds of the parts of a pass.
        contexts: where the price of a written token is looked at, at least two.
        read: length of the prompt whose price a token is the unit.

    Returns:
        The law, and its largest relative error over the contexts.
    """

    def seconds(n: int, context: int) -> float:
        layers = shape.layers
        return prices.seconds(n, context, attention=layers, mlp=layers, head_rows=1)

    unit = seconds(read, 0) / read
    at = np.asarray(contexts, dtype=np.float64)
    steps = np.array([seconds(1, context) / unit for context in contexts])
    design = np.stack([np.ones_like(at), at], axis=1)
    (step, slope), *_ = np.linalg.lstsq(design, steps, rcond=None)
    if slope < 0:  # a longer context is never cheaper
        step, slope = steps.mean(), 0.0
    error = float(np.max(np.abs((step + slope * at) / steps - 1)))
    return PrefillEquivalents(step=float(step), context=float(slope)), error
