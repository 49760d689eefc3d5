"""The controller of draft sources: which one drafts the next tokens, and how many.

Each step every source makes its guess; the source and the length with the most expected tokens a
second in the machine's measured table are drafted, and nothing when no draft pays (ours). How far
the guesses of a source hold is learnt per kind, such as the length of a match, from the tokens
really written, also when they were not drafted: so exploring costs nothing. One guess of a source
is followed at a time, as if each were drafted at full length: guesses inside one that still holds
would count a long copy as often as it is long.

Where `trees` is on, a draft may branch (`draft_tree.py`): into the ways that a source knows beside
its guess, and into what another source guesses. Those are followed and learnt alike.

Whatever the text is, the steps of a row that runs alone cost at most 1 + `ALLOWANCE` of ordinary
ones, and `START` ordinary steps more, by the measured table: a draft that could cost more than the
credit that is left is shortened. What drafts save is credit as well. Beside other rows, which may
draft too, a pass can cost more than each of them was told, and the bound is not kept exactly.

Sources whose drafts take forward passes compete at what the whole step costs, those passes
included (`model_drafts.py`); where nobody runs such passes, they are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rheostat.kernel.policies.draft_tree import best_draft
from rheostat.kernel.policies.followed import Followed, ways
from rheostat.kernel.policies.model_drafts import Terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.model_drafts import Asked, FollowedModel, ModelSource
    from rheostat.kernel.seams import (
        DraftingSeconds,
        DraftSource,
        DraftStart,
        Forward,
        ModelDraft,
        StepSeconds,
    )

ALLOWANCE = 0.01
"""Seconds for wrong drafts a second of ordinary steps,"""
START = 2.5
"""and ordinary steps for them when a row starts."""
_RENEWED = 128
"""Costs are looked up again whenever the context has passed a multiple of this."""


@final
@dataclass(frozen=True, kw_only=True)
class Controlled:
    """Draft sources under one controller: a `Drafter`."""

    sources: tuple[tuple[DraftSource, int], ...] = ()
    """Each source and the longest draft that it may make; 0 = none, and it is not asked."""
    trees: bool = False
    """Whether a draft may branch."""
    models: tuple[tuple[ModelSource, int], ...] = ()
    """As `sources`, for those whose drafts take forward passes."""

    @staticmethod
    def joined(drafters: Sequence[Controlled]) -> Controlled:
        """Return the sources of several controllers under one."""
        return Controlled(
            sources=tuple(pair for drafter in drafters for pair in drafter.sources),
            trees=any(drafter.trees for drafter in drafters),
            models=tuple(pair for drafter in drafters for pair in drafter.models),
        )

    @property
    def cap(self) -> int:
        """Longest draft that takes no forward pass."""
        return max((cap for _, cap in self.sources), default=0)

    @property
    def forwards(self) -> Sequence[tuple[Forward, int]]:
        """What `ask` may ask for: each forward, and the most tokens of a draft with it."""
        return [(source.forward, cap) for source, cap in self.models if cap]

    def start(self, start: DraftStart) -> ControlState:
        """Let the sources read the prompt."""
        drafting = start.drafting_seconds
        state = ControlState(
            cost=start.step_seconds,
            drafting=drafting,
            longest=self.cap,
            read=len(start.prompt),
            followed=[
                Followed.started(source, cap, start, trees=self.trees)
                for source, cap in self.sources
                if cap
            ],
            models=[source.followed(cap) for source, cap in self.models if cap and drafting],
        )
        if state.drafts:
            state.look_up()
            state.credit = START * state.seconds[0]
        return state

    def propose(self, state: ControlState, limit: int) -> Sequence[int]:
        """Return the draft that pays best, none when none pays."""
        if not state.followed:
            return ()
        best: Sequence[int] = ()
        best_rate = 1.0 / state.seconds[0]
        affordable = state.credit + state.seconds[0]
        guesses = [
            (followed, guess)
            for followed in state.followed
            if (guess := followed.source.guess(followed.state, followed.cap)) is not None
        ]
        for followed, guess in guesses:
            runs = followed.runs[guess.kind]
            others = ways(followed, guess, guesses) if self.trees else ()
            followed.trails.follow(guess.tokens, runs, others)
            draft, rate = best_draft(
                guess.tokens,
                runs.survival,
                state.seconds[: limit + 1],
                ways=others,
                affordable=affordable,
            )
            if rate > best_rate:
                best, best_rate = draft, rate
        state.drafted, state.rate = len(best), best_rate
        return best

    def ask(self, state: ControlState, limit: int) -> ModelDraft | None:
        """Return the draft by forward passes that pays more than the last proposal, if one does.

        One that is not expected to pay may be asked for to find out.
        """
        if not state.models or state.drafting is None or limit < 1:
            return None
        ordinary = state.seconds[0]
        terms = Terms(
            limit=limit,
            read=state.read,
            ordinary=ordinary,
            affordable=state.credit + ordinary,
            rate=max(state.rate, 1.0 / ordinary),
        )
        best_rate = -1.0
        for model in state.models:
            found = model.ask(state.drafting, terms)
            if found is not None and found[1] > best_rate:
                (state.asked, best_rate), state.asked_of = found, model
        if state.asked_of is not None:
            state.asked_of.postpone(state.read, pays=best_rate > 0)
        return state.asked

    def commit(self, state: ControlState, tokens: Sequence[int]) -> ControlState:
        """Score the guesses that these tokens settle, and let the sources read them."""
        if state.drafts:
            state.settle(len(tokens))
            state.advance(len(tokens))
        for followed in state.followed:
            followed.trails.read(tokens)
            followed.state = followed.source.commit(followed.state, tokens)
        return state


@final
@dataclass(kw_only=True)
class ControlState:
    """A row's sources."""

    cost: StepSeconds
    drafting: DraftingSeconds | None
    longest: int
    read: int
    """Tokens before the next one."""
    followed: list[Followed]
    models: list[FollowedModel]
    seconds: Sequence[float] = ()
    """Cost of a pass over 1, 2, ... new tokens, at about this context."""
    credit: float = 0.0
    """Seconds that wrong drafts may cost: what drafts saved, and the allowance."""
    drafted: int = 0
    """Tokens of the last proposal,"""
    rate: float = 0.0
    """and the tokens a second that it promises."""
    asked: Asked | None = None
    """The draft by forward passes that was taken in its place,"""
    asked_of: FollowedModel | None = None
    """and of whom."""

    @property
    def drafts(self) -> bool:
        """Whether there is any source."""
        return bool(self.followed or self.models)

    def settle(self, written: int) -> None:
        """Pay for the step, and learn from a draft by forward passes."""
        seconds = self.seconds[self.drafted]
        if self.asked is not None and self.asked_of is not None:
            seconds = self.asked.seconds[self.asked.drafted]
            self.asked_of.score(self.read, self.asked.drafted, written)
        self.credit += (1 + ALLOWANCE) * self.seconds[0] * written - seconds
        self.drafted, self.rate, self.asked, self.asked_of = 0, 0.0, None, None

    def advance(self, tokens: int) -> None:
        """Count written tokens; look the costs up again when the context has grown."""
        before, self.read = self.read, self.read + tokens
        if before // _RENEWED != self.read // _RENEWED:
            self.look_up()

    def look_up(self) -> None:
        """Read the costs at this context."""
        self.seconds = [self.cost(n, self.read) for n in range(1, self.longest + 2)]
