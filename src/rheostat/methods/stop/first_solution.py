"""First solution (arXiv:2508.02178): ends a sequence whose sentences keep stating one answer.

The paper calls what follows the first correct solution external redundancy, and cuts it knowing the
right answer. While a sequence is written nobody knows it; a solution is taken for found when
sentences state the same number one after another (ours): it, and what repeats it. Dial d asks for
`agreeing` / d of them; dial 0 is the natural end. Short answers match by accident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.policies.stop_early import SENTENCE_END, Agreement, stretched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape


@final
@dataclass(frozen=True, kw_only=True)
class FirstSolution:
    """Stops once an answer is repeated."""

    agreeing: int = 2
    """Sentences in a row that state the same number, at dial 1 (ours)."""

    card: ClassVar[Card] = Card(
        name="first_solution",
        title="ends a sequence once sentences repeat its answer",
        seam="stop",
        exactness="lossy",
        paper="arXiv:2508.02178",
        paper_title=(
            "Reconsidering Overthinking: Penalizing Internal and External Redundancy in CoT "
            "Reasoning"
        ),
        authors=(
            "Jialiang Hong, Taihang Zhen, Kai Chen, Jiaheng Liu, Junlan Feng, Wenpeng Zhu, "
            "Jing Huo, Yang Gao, Depeng Wang, Haitao Wan, Xi Yang, Boyan Wang, Fanyu Meng, "
            "Yuyao Zhang"
        ),
        needs=frozenset({"stop"}),
    )

    def __post_init__(self) -> None:
        """Refuse to stop before anything is stated."""
        if self.agreeing < 1:
            raise MethodError(
                f"`first_solution.agreeing` must be at least 1, got `{self.agreeing}`"
            )

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Agreement:
        """Return how many sentences must agree."""
        return Agreement(ends=SENTENCE_END, agreeing=stretched(self.agreeing, dial))
