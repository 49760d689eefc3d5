"""Every earlier occurrence of a growing text's end, and how often each token followed it.

A suffix automaton (Blumer et al. 1985): its states are the classes of substrings that end at the
same places; it grows by a token in amortised constant time. The suffix link of the newest state is
the longest end of the text that occurred before. Keeping the number of occurrences and the most
recent one on every state while the text grows is ours: the links of the newest state are walked,
at most `WALK` of them, so in long loops the shortest contexts are counted late.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Sequence

WALK = 48
_ROOT = 0


class Other(NamedTuple):
    """Another way on than the likeliest."""

    at: int
    """Tokens of the likeliest way that come before it."""
    tokens: list[int]
    share: float
    """How often its first token followed there, of all occurrences."""
    shorter: bool
    """Whether it followed a shorter end of the text alone."""


@final
@dataclass(kw_only=True)
class SuffixAutomaton:
    """The substrings of a text; it grows at the end only."""

    text: list[int] = field(default_factory=list)
    """Every token so far; changed by `append` alone."""
    follow: list[dict[int, int]] = field(default_factory=lambda: [{}])
    """State -> token -> the state of the substring with that token."""
    link: list[int] = field(default_factory=lambda: [-1])
    """State -> the state of the longest end of it that occurs elsewhere as well."""
    length: list[int] = field(default_factory=lambda: [0])
    """State -> tokens of its longest substring."""
    count: list[int] = field(default_factory=lambda: [0])
    """State -> occurrences seen."""
    recent: list[int] = field(default_factory=lambda: [-1])
    """State -> the index behind the most recent occurrence."""
    newest: int = _ROOT
    """The state of the whole text."""

    def append(self, tokens: Sequence[int]) -> None:
        """Extend the text."""
        for token in tokens:
            self._extend(token)
            self.text.append(token)
            self._count()

    @property
    def repeated(self) -> tuple[int, int]:
        """The state of the longest end of the text that occurred before, and its length."""
        state = self.link[self.newest]
        return (_ROOT, 0) if state < 0 else (state, self.length[state])

    def likeliest(self, state: int) -> tuple[int, int]:
        """Return the token that followed a substring most often, most recently on a tie.

        Returns:
            The token, and the state behind it; (-1, root) when nothing followed.
        """
        count, recent = self.count, self.recent
        return max(
            self.follow[state].items(),
            key=lambda item: (count[item[1]], recent[item[1]]),
            default=(-1, _ROOT),
        )

    def continued(self, state: int, most: int) -> list[int]:
        """Return the likeliest tokens behind a substring; without any the context shrinks."""
        tokens: list[int] = []
        while len(tokens) < most and state > _ROOT:
            token, behind = self.likeliest(state)
            if token < 0:
                state = self.link[state]
                continue
            tokens.append(token)
            state = behind
        return tokens

    def others(self, state: int, most: int, *, each: int, reach: int) -> list[Other]:
        """Return where the likeliest tokens behind a substring may be left, and for what.

        Args:
            most: how many of the likeliest tokens are walked along.
            each: other tokens at a place, at most; the most frequent first.
            reach: tokens of each way, at most.
        """
        found: list[Other] = []
        at = 0
        while at < most and state > _ROOT:
            likeliest, behind = self.likeliest(state)
            if likeliest >= 0:
                context, seen = state, {likeliest}
                # where the longest context fails, shorter ones may know better: at the start alone
                while context > _ROOT and len(seen) <= each and (context == state or not at):
                    for token, share in self._left_out(context, seen)[: each + 1 - len(seen)]:
                        way = [token, *self.continued(self.follow[context][token], reach - 1)]
                        found.append(Other(at, way, share, context != state))
                        seen.add(token)
                    context = self.link[context]
                at += 1
                state = behind
            else:
                state = self.link[state]
        return found

    def _left_out(self, state: int, seen: set[int]) -> list[tuple[int, float]]:
        """Return the other tokens that followed, most frequent first, with their shares."""
        follow, count, recent = self.follow[state], self.count, self.recent
        if len(follow) == 1 and not seen.isdisjoint(follow):
            return []
        total = sum(count[behind] for behind in follow.values())
        ranked = sorted(
            (token for token in follow if token not in seen),
            key=lambda token: (count[follow[token]], recent[follow[token]]),
            reverse=True,
        )
        return [(token, count[follow[token]] / total) for token in ranked]

    def _extend(self, token: int) -> None:
        follow, link, length = self.follow, self.link, self.length
        last, new = self.newest, self._state({}, length[self.newest] + 1)
        while last >= 0 and token not in follow[last]:
            follow[last][token] = new
            last = link[last]
        if last >= 0:
            found = follow[last][token]
            if length[found] == length[last] + 1:
                link[new] = found
            else:
                link[new] = self._split(last, token, found)
        else:
            link[new] = _ROOT
        self.newest = new

    def _split(self, last: int, token: int, found: int) -> int:
        """Part the shorter substrings of a state from it; they now occur at one place more."""
        follow, link = self.follow, self.link
        clone = self._state(dict(follow[found]), self.length[last] + 1)
        link[clone], link[found] = link[found], clone
        self.count[clone], self.recent[clone] = self.count[found], self.recent[found]
        while last >= 0 and follow[last].get(token) == found:
            follow[last][token] = clone
            last = link[last]
        return clone

    def _state(self, follow: dict[int, int], length: int) -> int:
        self.follow.append(follow)
        self.link.append(_ROOT)
        self.length.append(length)
        self.count.append(0)
        self.recent.append(-1)
        return len(self.length) - 1

    def _count(self) -> None:
        end, state = len(self.text), self.newest
        for _ in range(WALK):
            if state <= _ROOT:
                break
            self.count[state] += 1
            self.recent[state] = end
            state = self.link[state]
