"""Draft sources that take forward passes: whether one of them pays, and for how many tokens.

What such a source would have guessed is unknown until it is asked, so other than for copies
exploring costs something. A source that is not expected to pay is asked once when the row starts,
and again after 16, 32, 64, ... written tokens, for a draft that costs one ordinary step at most
when it is in vain, but for what is read once; and never when even a draft that is accepted as a
whole would not pay (ours).
Every draft, also one that is expected to pay, has to be covered by the row's credit as a whole.

Another model has to read the text before its first draft. That happens once, so it is not held
against the rate of that draft; the credit has to cover it all the same. On a long prompt it does
so late or never.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from rheostat.kernel.policies.draft_stop import Outlook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.draft_stop import StopRule
    from rheostat.kernel.seams import DraftingSeconds, Forward

_FIRST_WAIT = 16
_LONGEST_WAIT = 4096
_RENEWED = 128
"""Costs are looked up again whenever the text has passed a multiple of this."""
_PRIOR_WEIGHT = 1
"""A prior counts as much as so many tokens: these sources are seen seldom."""
_LEAST_WEIGHT = 0.03
"""Of a new token, however many were seen."""


@final
@dataclass(kw_only=True)
class Acceptance:
    """How often draft tokens are accepted: first ones, and those behind an accepted one.

    Unlike copies, which break at once or hold for long, drafts by a forward are taken to be
    accepted token by token, so that lengths that were never drafted are foreseen.
    """

    first: float
    further: float
    firsts: float = _PRIOR_WEIGHT
    """Tokens that each of the two counts as."""
    furthers: float = _PRIOR_WEIGHT

    def survival(self, k: int) -> float:
        """Return the probability that the first k tokens are all accepted.

        Until a further token was seen, it is taken to be accepted as often as a first one.
        """
        seen = self.furthers > _PRIOR_WEIGHT
        further = self.further if seen else max(self.first, self.further)
        return self.first * further ** (k - 1)

    def score(self, held: int, drafted: int) -> None:
        """Take in a draft of which the first `held` tokens were accepted."""
        self.firsts += 1
        self.first += (min(held, 1) - self.first) * max(1 / self.firsts, _LEAST_WEIGHT)
        for place in range(1, min(held + 1, drafted)):
            self.furthers += 1
            weight = max(1 / self.furthers, _LEAST_WEIGHT)
            self.further += ((place < held) - self.further) * weight


@final
@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A forward that can draft."""

    forward: Forward
    prior: tuple[float, float]
    """Acceptance of the first token and of each further one before anything was seen."""
    rule: StopRule | None = None
    """When a draft has enough tokens; None = at the length with the most expected tokens a
    second."""

    def followed(self, cap: int) -> FollowedModel:
        """Return the state of a new row."""
        first, further = self.prior
        return FollowedModel(
            source=self, cap=cap, acceptance=Acceptance(first=first, further=further)
        )


@final
@dataclass(kw_only=True)
class Asked:
    """A draft that is being computed: a `ModelDraft`."""

    forward: Forward
    most: int
    """Tokens that may be drawn."""
    seconds: Sequence[float]
    """Entry k: seconds of the step with k drafts."""
    rated: Sequence[float]
    """The same without what is done once."""
    rule: StopRule | None
    drafted: int = 0
    scores: list[float] = field(default_factory=list)

    def goes_on(self, score: float | None) -> bool:
        """Take in that a token was drawn; return whether another one is wanted."""
        self.drafted += 1
        if score is not None:
            self.scores.append(score)
        if self.drafted >= self.most:
            return False
        if self.rule is None:
            return True
        return self.rule.goes_on(
            Outlook(
                drafted=self.drafted,
                most=self.most,
                scores=self.scores,
                seconds=self.rated,
            )
        )


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a draft has to keep to."""

    limit: int
    """Most tokens."""
    read: int
    """Tokens of the text, the newest one included."""
    ordinary: float
    """Seconds of a step without a draft."""
    affordable: float
    """Seconds that the step may take, its draft in vain."""
    rate: float
    """Tokens a second that the best other draft, or none, promises."""


@final
@dataclass(kw_only=True)
class FollowedModel:
    """A source of a row, and how its drafts fared."""

    source: ModelSource
    cap: int
    acceptance: Acceptance
    read: int = 0
    """Tokens that another model has read."""
    due: int = 0
    """Length of the text from which it is asked although it is not expected to pay."""
    wait: int = _FIRST_WAIT
    known: tuple[int, Sequence[float]] | None = None
    """Costs that were looked up, and for which part of the text."""

    def ask(self, cost: DraftingSeconds, terms: Terms) -> tuple[Asked, float] | None:
        """Return the draft to make and the rate it promises, 0 when only to find out.

        None = it would not pay.
        """
        rated = self._rated(cost, terms)
        longest = min(self.cap, terms.limit)
        if all((k + 1) / rated[k] <= terms.rate for k in range(1, longest + 1)):
            return None
        _, rate = best_draft(self.acceptance, rated, longest)
        if rate <= terms.rate and terms.read < self.due:
            return None
        unread = 1 if self.source.forward.layout is not None else terms.read - self.read
        seconds = rated if unread == 1 else self._costs(cost, terms, unread)
        if self.read:
            rated = seconds
        most = affordable_length(seconds, longest, terms.affordable)
        best, rate = best_draft(self.acceptance, rated, most)
        pays = rate > terms.rate
        if not pays:
            most = min(most, affordable_length(rated, longest, 2 * terms.ordinary))
            best, _ = best_draft(self.acceptance, rated, most)
        if not most or not (pays or terms.read >= self.due):
            return None
        asked = Asked(
            forward=self.source.forward,
            most=best if self.source.rule is None else most,
            seconds=seconds,
            rated=rated,
            rule=self.source.rule,
        )
        return asked, rate if pays else 0.0

    def postpone(self, read: int, *, pays: bool) -> None:
        """Wait before it is asked again without being expected to pay; each time for longer."""
        self.wait = _FIRST_WAIT if pays else self.wait
        self.due = read + self.wait
        self.wait = min(2 * self.wait, _LONGEST_WAIT)

    def score(self, read: int, drafted: int, written: int) -> None:
        """Learn from a draft of which all but the last written token were accepted.

        Args:
            read: tokens of the text when it was made.
            drafted: tokens drawn.
            written: tokens written by the step.
        """
        if not drafted:
            return
        self.acceptance.score(min(written - 1, drafted), drafted)
        self.read = min(read + drafted - 1, read + written - 1)

    def _rated(self, cost: DraftingSeconds, terms: Terms) -> Sequence[float]:
        """Return the seconds when the newest token alone is unread, at about this context."""
        context = terms.read // _RENEWED
        if self.known is None or self.known[0] != context:
            self.known = context, self._costs(cost, terms, 1)
        return self.known[1]

    def _costs(self, cost: DraftingSeconds, terms: Terms, unread: int) -> Sequence[float]:
        """Return the seconds of a step with 0, 1, ... drafts, when so much is unread."""
        forward = self.source.forward
        drafted = [cost(forward, k, unread, terms.read) for k in range(1, self.cap + 1)]
        return [terms.ordinary, *drafted]


def affordable_length(seconds: Sequence[float], longest: int, affordable: float) -> int:
    """Return the longest draft up to which every length can be afforded."""
    over = (k for k in range(1, longest + 1) if seconds[k] > affordable)
    return next(over, longest + 1) - 1


def best_draft(acceptance: Acceptance, seconds: Sequence[float], most: int) -> tuple[int, float]:
    """Return the length in 1..most with the most expected tokens a second, and its rate."""
    best, best_rate, tokens = 0, 0.0, 1.0
    for k in range(1, most + 1):
        tokens += acceptance.survival(k)
        if tokens / seconds[k] > best_rate:
            best, best_rate = k, tokens / seconds[k]
    return best, best_rate
