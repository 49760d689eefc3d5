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
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from rheostat.kernel.policies.draft_tree import agreement, best_draft
from rheostat.kernel.policies.run_lengths import RunLengths
from rheostat.kernel.policies.trails import Trails, Way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rheostat.kernel.seams import DraftSource, DraftStart, Guess, StepSeconds

ALLOWANCE = 0.01
"""Seconds for wrong drafts a second of ordinary steps,"""
START = 2.5
"""and ordinary steps for them when a row starts."""
_RENEWED = 128
"""Costs are looked up again whenever the context has passed a multiple of this."""
_PRIOR_WEIGHT = 4
"""A prior counts as much as so many guesses."""
_SECOND = 0.25
"""Share of its first token's acceptance that a guess keeps where another source's guess leaves it,
before anything was seen; a guess."""


@final
@dataclass(frozen=True, kw_only=True)
class Controlled:
    """Draft sources under one controller: a `Drafter`."""

    sources: tuple[tuple[DraftSource, int], ...]
    """Each source and the longest draft that it may make; 0 = none, and it is not asked."""
    trees: bool = False
    """Whether a draft may branch."""

    @staticmethod
    def joined(drafters: Sequence[Controlled]) -> Controlled:
        """Return the sources of several controllers under one."""
        return Controlled(
            sources=tuple(pair for drafter in drafters for pair in drafter.sources),
            trees=any(drafter.trees for drafter in drafters),
        )

    @property
    def cap(self) -> int:
        """Longest draft."""
        return max((cap for _, cap in self.sources), default=0)

    def start(self, start: DraftStart) -> ControlState:
        """Let the sources read the prompt."""
        followed = [
            Followed(
                source=source,
                cap=cap,
                state=source.start(start),
                runs=_curves(source, cap),
                second=_curves(source, cap, share=_SECOND) if self.trees else [],
            )
            for source, cap in self.sources
            if cap
        ]
        state = ControlState(
            cost=start.step_seconds, longest=self.cap, read=len(start.prompt), followed=followed
        )
        if followed:
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
            ways = _ways(followed, guess, guesses) if self.trees else ()
            followed.trails.follow(guess.tokens, runs, ways)
            draft, rate = best_draft(
                guess.tokens,
                runs.survival,
                state.seconds[: limit + 1],
                ways=ways,
                affordable=affordable,
            )
            if rate > best_rate:
                best, best_rate = draft, rate
        state.drafted = len(best)
        return best

    def commit(self, state: ControlState, tokens: Sequence[int]) -> ControlState:
        """Score the guesses that these tokens settle, and let the sources read them."""
        if state.followed:
            ordinary = state.seconds[0] * len(tokens)
            state.credit += (1 + ALLOWANCE) * ordinary - state.seconds[state.drafted]
            state.drafted = 0
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
    longest: int
    read: int
    """Tokens before the next one."""
    followed: list[Followed]
    seconds: Sequence[float] = ()
    """Cost of a pass over 1, 2, ... new tokens, at about this context."""
    credit: float = 0.0
    """Seconds that wrong drafts may cost: what drafts saved, and the allowance."""
    drafted: int = 0
    """Tokens of the last draft."""

    def advance(self, tokens: int) -> None:
        """Count written tokens; look the costs up again when the context has grown."""
        before, self.read = self.read, self.read + tokens
        if before // _RENEWED != self.read // _RENEWED:
            self.look_up()

    def look_up(self) -> None:
        """Read the costs at this context."""
        self.seconds = [self.cost(n, self.read) for n in range(1, self.longest + 2)]


@final
@dataclass(kw_only=True)
class Followed:
    """A source of a row, and how its guesses fared."""

    source: DraftSource
    cap: int
    state: Any
    runs: list[RunLengths]
    """How far its guesses hold, a kind each."""
    second: list[RunLengths]
    """And how far behind the place where the guess of another source leaves them."""
    trails: Trails = field(default_factory=Trails)


def _curves(source: DraftSource, cap: int, share: float = 1.0) -> list[RunLengths]:
    """Return what is thought of a source's guesses before any was seen."""
    return [
        RunLengths.prior(share * first, further, longest=cap, weight=_PRIOR_WEIGHT)
        for first, further in source.priors
    ]


def _ways(followed: Followed, guess: Guess, guesses: Sequence[tuple[Followed, Guess]]) -> list[Way]:
    """Return what leaves a guess: its own branches, and what other sources guess."""
    ways = [Way(b.at, b.tokens, followed.runs[b.kind]) for b in guess.branches]
    for other, theirs in guesses:
        at = agreement(guess.tokens, theirs.tokens)
        if other is not followed and at < min(len(guess.tokens), len(theirs.tokens)):
            ways.append(Way(at, theirs.tokens[at:], other.second[theirs.kind]))
    return ways
