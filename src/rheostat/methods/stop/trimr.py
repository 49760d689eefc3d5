"""TrimR (arXiv:2505.17155): ends a sequence that loops, or whose segments agree on an answer.

A window of tokens that repeats back to back ends it, and so do finished segments of reasoning, cut
at words that turn back ("Wait", "But", ...), that state the same answer one after another. The
paper's verifier reads each segment's answer and then leads the model into a last heading; here the
answer is a segment's last number, and what was written stands (ours). Dial d asks for
`copies` / d copies and `agreeing` / d segments; dial 0 is the natural end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.stop_early import REFLECTION, Agreement, FirstOf, Loop, stretched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class TrimR:
    """Stops loops and agreement."""

    copies: int = 4
    """Copies of a window that make a loop, at dial 1 (ours)."""
    agreeing: int = 3
    """Segments in a row that state the same answer, at dial 1; the paper's M + 1."""

    card: ClassVar[Card] = Card(
        name="trimr",
        title="ends a sequence that loops or whose segments agree",
        seam="stop",
        exactness="lossy",
        paper="arXiv:2505.17155",
        paper_title=(
            "TrimR: Verifier-based Training-Free Thinking Compression for Efficient Test-Time "
            "Scaling"
        ),
        authors=(
            "Weizhe Lin, Xing Li, Zhiyuan Yang, Xiaojin Fu, Hui-Ling Zhen, Yaoyuan Wang, "
            "Xianzhi Yu, Wulong Liu, Xiaosong Li, Mingxuan Yuan"
        ),
        needs=frozenset({"stop"}),
    )

    def __post_init__(self) -> None:
        """Refuse numbers that nothing repeats in."""
        for name in ("copies", "agreeing"):
            if getattr(self, name) < 2:
                raise MethodError(f"`trimr.{name}` must be at least 2, got `{getattr(self, name)}`")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> FirstOf:
        """Return the two reasons to stop."""
        return FirstOf(
            (
                Loop(times=stretched(self.copies, dial)),
                Agreement(ends=REFLECTION, agreeing=stretched(self.agreeing, dial)),
            )
        )
