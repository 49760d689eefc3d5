"""Drafts by forward passes at every step, whether they pay or not: what a controller leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rheostat.kernel.policies.model_drafts import Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.model_drafts import ModelSource
    from rheostat.kernel.seams import DraftingSeconds, DraftStart, Forward, StepSeconds


@dataclass(kw_only=True)
class ForcedState:
    """A row's length, and what steps cost."""

    read: int
    step: StepSeconds
    drafting: DraftingSeconds


@final
@dataclass(frozen=True, kw_only=True)
class Forced:
    """A `ModelDrafter` that asks for one source's draft at every step."""

    source: ModelSource
    most: int
    """Tokens of a draft, unless the source's own rule stops before."""

    @property
    def forwards(self) -> Sequence[tuple[Forward, int]]:
        """Return its forward."""
        return [(self.source.forward, self.most)]

    def start(self, start: DraftStart) -> ForcedState:
        """Begin a row."""
        assert start.drafting_seconds is not None
        return ForcedState(
            read=len(start.prompt), step=start.step_seconds, drafting=start.drafting_seconds
        )

    def propose(self, state: ForcedState, limit: int) -> Sequence[int]:
        """Propose nothing: the draft is asked for."""
        return ()

    def ask(self, state: ForcedState, limit: int) -> Asked | None:
        """Ask for as many tokens as there is room for."""
        most = min(self.most, limit)
        if most < 1:
            return None
        forward = self.source.forward
        drafted = [state.drafting(forward, k, 1, state.read) for k in range(1, most + 1)]
        seconds = [state.step(1, state.read), *drafted]
        return Asked(
            forward=forward, most=most, seconds=seconds, rated=seconds, rule=self.source.rule
        )

    def commit(self, state: ForcedState, tokens: Sequence[int]) -> ForcedState:
        """Count what was written."""
        state.read += len(tokens)
        return state
