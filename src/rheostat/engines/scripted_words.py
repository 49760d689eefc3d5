"""Constraints over the scripted engine's words, which are put one after another with spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, final

from rheostat.workloads.grammar_constraint import TokenTexts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.constraint import Constraint
    from rheostat.kernel.seams import Bools


def word_texts(vocabulary: Sequence[str]) -> TokenTexts:
    """Return what each word adds to an answer, and behind that what it adds as the first word."""
    words = [word.encode() for word in vocabulary]
    return TokenTexts([*(b" " + word for word in words), *words])


class _Begun(NamedTuple):
    state: Any
    begun: bool


@final
class SpacedWords:
    """A constraint over `word_texts`, asked by the words' own ids."""

    def __init__(self, constraint: Constraint, size: int) -> None:
        """Wrap a constraint; `size` is the number of words."""
        self.name = constraint.name
        self._inner = constraint
        self._size = size

    def start(self) -> _Begun:
        """Return the state of an empty answer."""
        return _Begun(self._inner.start(), begun=False)

    def allows(self, state: _Begun, token: int) -> bool:
        """Return whether the word may come next."""
        return self._inner.allows(state.state, self._own(state, token))

    def mask(self, state: _Begun) -> Bools | None:
        """Return which words may come next, [vocabulary]."""
        both = self._inner.mask(state.state)
        if both is None:
            return None
        return both[: self._size] if state.begun else both[self._size :]

    def advance(self, state: _Begun, token: int) -> _Begun:
        """Take in a word that is allowed."""
        return _Begun(self._inner.advance(state.state, self._own(state, token)), begun=True)

    def may_end(self, state: _Begun) -> bool:
        """Return whether the answer is valid as it stands."""
        return self._inner.may_end(state.state)

    def fork(self, state: _Begun) -> _Begun:
        """Return a second state."""
        return state._replace(state=self._inner.fork(state.state))

    def _own(self, state: _Begun, token: int) -> int:
        return token if state.begun else token + self._size
