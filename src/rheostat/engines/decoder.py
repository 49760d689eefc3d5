"""What the `torch` engine asks of a model: one forward pass over new tokens, and what it took.

Two answer: the lean loop over the weights (`torch_model`), and a module of `transformers` behind
the same questions (`torch_hosted`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from rheostat.engines.torch_model import Feed, Observer, Passed, Resume
    from rheostat.engines.torch_ways import Way
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Depth


LEAN = frozenset(
    {
        "cache.codes",
        "cache.entries",
        "cache.residuals",
        "depth.mlp",
        "depth.parts",
        "depth.static",
        "draft",
        "draft.model",
        "signal.attention",
        "signal.mlp_cosine",
        "stop",
        "token",
    }
)
"""What the lean loop offers to methods."""


def all_rows(feeds: Sequence[Feed]) -> bool:
    """Rows of any kind go through one pass."""
    return True


class Decoder(Protocol):
    """A decoder-only language model, loaded."""

    shape: ModelShape
    dtype: torch.dtype
    """Format of activations and cache."""
    device: torch.device
    """Where weights, activations and cache are."""
    fixed: bool
    """Whether a token's arithmetic is the same in every pass."""
    pads: bool
    """Whether products take more rows than there are."""

    @property
    def windows(self) -> tuple[int, ...]:
        """For each layer the entries before a token, itself included, that are read; 0 = all."""

    @property
    def offers(self) -> frozenset[str]:
        """Capabilities that a method's `needs` may name."""

    @property
    def packs(self) -> bool:
        """Whether rows of any kind go through one pass, as alone where as many always do."""

    def joins(self, feeds: Sequence[Feed]) -> bool:
        """Return whether these rows go through one pass; else each takes one of its own."""

    @property
    def branches(self) -> bool:
        """Whether the new tokens of a row may be a tree."""

    @property
    def reads_parts(self) -> bool:
        """Whether a step is as fast on caches that lie in parts as on others."""

    @property
    def score_scale(self) -> float:
        """Factor of attention scores."""

    def forward(  # noqa: PLR0913  # what is read, what is wanted, and who looks on
        self,
        feeds: Sequence[Feed],
        depth: Depth,
        *,
        logit_rows: Sequence[int] | None,
        choices: bool = False,
        observer: Observer | None = None,
        resume: Resume | None = None,
    ) -> Passed:
        """Read the feeds' tokens, extend their caches, return logits of some of the rows."""

    def way(self, *, decided: bool, compacted: bool) -> Way:
        """Return how the layers of a short pass run.

        Args:
            decided: whether a policy decides about MLPs.
            compacted: whether rows let entries go.
        """

    def weight_bytes(
        self, depth: Depth, widths: Sequence[int], rows: int, logits: int, *, choices: bool
    ) -> float:
        """Return the bytes of weights that a pass reads."""
