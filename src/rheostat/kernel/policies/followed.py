"""A source of guesses in a row: how far its guesses hold, and where others leave them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from rheostat.kernel.policies.draft_tree import agreement
from rheostat.kernel.policies.run_lengths import RunLengths
from rheostat.kernel.policies.trails import Trails, Way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rheostat.kernel.seams import DraftSource, DraftStart, Guess

_PRIOR_WEIGHT = 4
"""A prior counts as much as so many guesses."""
_SECOND = 0.25
"""Share of its first token's acceptance that a guess keeps where another source's guess leaves it,
before anything was seen; a guess."""


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

    @staticmethod
    def started(source: DraftSource, cap: int, start: DraftStart, *, trees: bool) -> Followed:
        """Let a source read the prompt."""
        return Followed(
            source=source,
            cap=cap,
            state=source.start(start),
            runs=_curves(source, cap),
            second=_curves(source, cap, share=_SECOND) if trees else [],
        )


def ways(followed: Followed, guess: Guess, guesses: Sequence[tuple[Followed, Guess]]) -> list[Way]:
    """Return what leaves a guess: its own branches, and what other sources guess."""
    found = [Way(b.at, b.tokens, followed.runs[b.kind]) for b in guess.branches]
    for other, theirs in guesses:
        at = agreement(guess.tokens, theirs.tokens)
        if other is not followed and at < min(len(guess.tokens), len(theirs.tokens)):
            found.append(Way(at, theirs.tokens[at:], other.second[theirs.kind]))
    return found


def _curves(source: DraftSource, cap: int, share: float = 1.0) -> list[RunLengths]:
    """Return what is thought of a source's guesses before any was seen."""
    return [
        RunLengths.prior(share * first, further, longest=cap, weight=_PRIOR_WEIGHT)
        for first, further in source.priors
    ]
