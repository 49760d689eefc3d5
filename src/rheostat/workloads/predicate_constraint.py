"""A function of the user's as a constraint: may an answer begin with this text?

    def func(text: str) -> bool             every text that may begin an answer may also be one
    def func(text: str, ended: bool)        with `ended`: may the answer be this text?

Tokens are bytes. Bytes that are no UTF-8 are refused; a token that ends inside a character is
allowed when the function allows the text with a character that completes it. All characters are
tried where one byte is missing, else 64 spread over those that are possible: a function that
allows few rare characters may lose them, but no answer is led into a dead end by half a character.
"""

from __future__ import annotations

import codecs
import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, final

from rheostat.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.workloads.constraints import Predicate, Wanted

PROBES = 64
_LEAST = {2: 0x80, 3: 0x800, 4: 0x10000}
"""Length of a character in bytes -> its lowest code point."""
_SURROGATES = range(0xD800, 0xE000)


class Written(NamedTuple):
    """An answer so far."""

    text: str
    """Whole characters."""
    part: bytes = b""
    """The beginning of the next character."""


@final
class PredicateConstraint:
    """A constraint whose states are texts."""

    def __init__(self, name: str, function: Predicate, pieces: Sequence[bytes]) -> None:
        """Look how the function wants to be called."""
        self.name = name
        self._function = function
        self._pieces = pieces
        self._told = _is_told_the_end(function, name)

    def start(self) -> Written:
        """Return the state of an empty answer."""
        return Written("")

    def allows(self, state: Written, token: int) -> bool:
        """Return whether the token may come next."""
        after = _after(state, self._pieces[token])
        if after is None:
            return False
        if after.part:
            return any(self._asked(after.text + c, ended=False) for c in completions(after.part))
        return self._asked(after.text, ended=False)

    def mask(self, state: Written) -> None:
        """Return nothing: a function is asked of one text at a time."""
        return

    def advance(self, state: Written, token: int) -> Written:
        """Take in a token that is allowed."""
        after = _after(state, self._pieces[token])
        assert after is not None
        return after

    def may_end(self, state: Written) -> bool:
        """Return whether the answer is valid as it stands."""
        return not state.part and self._asked(state.text, ended=True)

    def fork(self, state: Written) -> Written:
        """Return the state itself, which never changes."""
        return state

    def _asked(self, text: str, *, ended: bool) -> bool:
        try:
            return bool(self._function(text, ended) if self._told else self._function(text))
        except Exception as error:
            raise ConstraintError(
                f"the constraint `{self.name}` failed on {text!r}: {error!r}",
                hint="the function must take every text that it allowed, and one more token",
            ) from error


def function_of(asked: Wanted) -> Predicate:
    """Return the function that a user names; its file is run."""
    if asked.function is not None:
        return asked.function
    path, _, name = asked.name.rpartition(":")
    space: dict[str, Any] = {"__name__": "rheostat_constraint", "__file__": path}
    try:
        exec(compile(asked.source, path, "exec"), space)
    except Exception as error:
        raise ConstraintError(
            f"the file of the constraint `{asked.name}` cannot be run: {error!r}",
            hint=f"try `python {path}`",
        ) from error
    function: Predicate | None = space.get(name)
    if not callable(function):
        raise ConstraintError(
            f"`{path}` defines no function `{name}`", hint=f"write `def {name}(text): ...`"
        )
    return function


@lru_cache(maxsize=4096)
def completions(part: bytes) -> tuple[str, ...]:
    """Return characters whose UTF-8 begins with these bytes: all, or `PROBES` spread over them."""
    lead = part[0]
    length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    point = lead & (0x7F >> length)
    for byte in part[1:]:
        point = point << 6 | byte & 0x3F
    missing = 6 * (length - len(part))
    low = max(point << missing, _LEAST[length])
    high = min((point + 1 << missing) - 1, 0x10FFFF)
    count = high - low + 1
    points = (
        (low + i * count // PROBES for i in range(PROBES))
        if count > PROBES
        else (low + i for i in range(count))
    )
    return tuple(chr(found) for found in points if found not in _SURROGATES)


def _after(state: Written, piece: bytes) -> Written | None:
    """Return the answer with a piece more; None when the piece is empty or breaks a character."""
    if not piece:
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(state.part + piece)
    except UnicodeDecodeError:
        return None
    return Written(state.text + text, decoder.getstate()[0])


def _is_told_the_end(function: Predicate, name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False  # a function of C: it is given the text alone
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in places if p.default is p.empty]
    if not places or len(required) > 2:
        raise ConstraintError(
            f"the constraint `{name}` must take a text, or a text and whether it ended",
            hint="write `def func(text): ...` or `def func(text, ended): ...`",
        )
    return len(places) > 1
