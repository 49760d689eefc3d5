"""Suffix drafts: what most often followed the longest end of the text that occurred before.

SuffixDecoding (arXiv 2411.04975) keeps a suffix tree and takes the continuation by its frequency,
longer for longer matches; suffix automata for the same purpose are in arXiv 2411.10666 (recalled).

Ours: the automaton is that of the row's own prompt and output; where a continuation runs into the
end of the text the context shrinks, so loops give full drafts; the draft's length, which the
controller learns per match length (1, 2, 3-5, 6-8, 9+) and, for short matches, apart for those
whose next token was always the same; with `branches` over 1 also trees, of what followed along the
way and of what followed shorter ends of the text, where these pay. Exploration allowance: the
controller's, 1 % of the ordinary steps and 2.5 of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from rheostat.errors import MethodError
from rheostat.kernel.dial import steps
from rheostat.kernel.method import Card
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.policies.suffix_automaton import SuffixAutomaton
from rheostat.kernel.seams import Branch, Guess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.kernel.method import Fitted
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.policies.suffix_automaton import Other
    from rheostat.kernel.seams import DraftStart

_KINDS = (0, 0, 1, 2, 2, 2, 3, 3, 3, 4)  # match length -> kind of guess
_SURE = 5  # added for a short match behind which one token alone was seen
_SHORT = 2  # kinds of such matches
_RARE, _OFTEN, _SHORTER = 7, 8, 9  # kinds of branches: by their share, and of shorter matches
_OFTEN_FROM = 0.3
_PRIORS = (
    (0.15, 0.55),
    (0.2, 0.6),
    (0.75, 0.9),
    (0.8, 0.9),
    (0.95, 0.95),
    (0.3, 0.65),
    (0.6, 0.8),
    (0.08, 0.7),
    (0.1, 0.8),
    (0.05, 0.8),
)
"""Of guesses, then of branches. Rounded from SmolLM2-135M's answers to calibration items of the
built-in workloads."""


@final
@dataclass(frozen=True, kw_only=True)
class Suffix:
    """Drafts by the longest earlier occurrence; lossless, because every draft is verified."""

    shortest: int = 1
    """Tokens that must match."""
    max_draft: int = 24
    """Longest draft at dial 1."""
    branches: int = 1
    """Tokens that are tried at one place: 1 = a chain, and no tree with other sources."""
    reach: int = 4
    """Longest branch."""

    card: ClassVar[Card] = Card(
        name="suffix",
        title="goes on as the longest earlier occurrence of the text's end most often did",
        seam="draft",
        exactness="distribution",
        paper="arXiv:2411.04975",
        paper_title="SuffixDecoding: Extreme Speculative Decoding for Emerging AI Applications",
        authors="Gabriele Oliaro, Zhihao Jia, Daniel Campos, Aurick Qiao",
        needs=frozenset({"draft"}),
        variants=({}, {"branches": 3}),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("shortest", "max_draft", "branches", "reach"):
            if getattr(self, name) < 1:
                raise MethodError(f"`suffix.{name}` must be at least 1")

    def fit(self, profile: Mapping[str, Any]) -> Fitted:
        """Learn nothing: the step costs arrive when a row starts."""
        return {}

    def at(self, dial: float, fitted: Fitted, shape: ModelShape) -> Controlled:
        """Return the drafter whose drafts have at most the dial's share of `max_draft` tokens."""
        cap = steps(dial, self.max_draft)
        return Controlled(sources=((SuffixSource(self), cap),), trees=self.branches > 1)


@final
@dataclass(frozen=True)
class SuffixSource:
    """Suffix drafts for the controller."""

    method: Suffix
    priors = _PRIORS

    def start(self, start: DraftStart) -> SuffixState:
        """Read the prompt."""
        known = SuffixAutomaton()
        known.append(start.prompt)
        return SuffixState(special=start.special, known=known)

    def guess(self, state: SuffixState, longest: int) -> Guess | None:
        """Go on from the longest end of the text that occurred before."""
        known = state.known
        found, length = known.repeated
        if length < self.method.shortest:
            return None
        if length < len(_KINDS) and state.special.issuperset(known.text[-length:]):
            return None
        kind = _KINDS[min(length, len(_KINDS) - 1)]
        if kind < _SHORT and len(known.follow[found]) == 1:
            kind += _SURE
        return Guess(known.continued(found, longest), kind, self._branches(known, found, longest))

    def _branches(self, known: SuffixAutomaton, found: int, longest: int) -> list[Branch]:
        """Return what else followed, along the guess."""
        each, reach = self.method.branches - 1, min(self.method.reach, longest)
        return [
            Branch(other.at, other.tokens, _branch_kind(other))
            for other in (known.others(found, longest, each=each, reach=reach) if each else ())
        ]

    def commit(self, state: SuffixState, tokens: Sequence[int]) -> SuffixState:
        """Read what was written."""
        state.known.append(tokens)
        return state


def _branch_kind(other: Other) -> int:
    if other.shorter:
        return _SHORTER
    return _OFTEN if other.share >= _OFTEN_FROM else _RARE


@dataclass(frozen=True, kw_only=True)
class SuffixState:
    """A row's text."""

    special: frozenset[int]
    known: SuffixAutomaton
