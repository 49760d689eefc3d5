"""Regular expressions, JSON Schemas and grammars as constraints, through the package `llguidance`.

Its matcher works on bytes, so a token may hold a part of a character; what it allows can always be
completed, if the model has a token for every byte. JSON is written on one line, with one space
after commas and colons, unless the schema's own `x-guidance` says otherwise: with white space free,
small models write it for ever.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.errors import ConstraintError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from rheostat.kernel.constraint import Constraint
    from rheostat.workloads.constraints import Wanted

JSON_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
NO_FORCING = '%llguidance {"no_forcing": true}\n'
"""Without it a mask holds, where a text is forced, only the first token of its usual spelling."""
_PLACE, _OF_SCHEMA = re.compile(r"(?:at )?(\d+)\((\d+)\): "), "failed to compile JSON schema: "
_HINTS = {
    "regex": "write a regular expression of Rust's dialect (no look-around, no references)",
    "schema": "the supported keywords are listed in the documentation of `llguidance`",
    "grammar": 'write rules such as `start: "yes" | NUMBER`, see the documentation of `llguidance`',
}


@final
@dataclass(frozen=True)
class TokenTexts:
    """The bytes that each token of a model adds to an answer."""

    pieces: Sequence[bytes]
    """[vocabulary]"""
    known: dict[Any, Constraint] = field(default_factory=dict, compare=False)
    """Constraints over these tokens that were compiled before."""

    @cached_property
    def indexed(self) -> Any:
        """The tokens as the library wants them, with an end token of its own behind the others."""
        library = _library()
        return library.LLTokenizer(library.TokenizerWrapper(_Vocabulary(self.pieces)))


@final
class GrammarConstraint:
    """A constraint whose states are matchers of the library."""

    def __init__(self, name: str, grammar: str, texts: TokenTexts) -> None:
        """Start from a grammar that was found valid."""
        self.name = name
        self._size = len(texts.pieces)
        self._first = _library().LLMatcher(texts.indexed, grammar)

    def start(self) -> Any:
        """Return the state of an empty answer."""
        return self._first.deep_copy()

    def allows(self, state: Any, token: int) -> bool:
        """Return whether the token may come next."""
        valid: bool = state.validate_tokens([token]) == 1
        if not valid and state.is_error():
            raise self._broken(state)
        return valid

    def mask(self, state: Any) -> NDArray[np.bool_]:
        """Return which tokens may come next, [vocabulary]."""
        bits = np.frombuffer(state.compute_bitmask(), dtype=np.uint8)
        if state.is_error():
            raise self._broken(state)
        return np.unpackbits(bits, count=self._size, bitorder="little").astype(np.bool_)

    def advance(self, state: Any, token: int) -> Any:
        """Take in a token that is allowed."""
        if not state.consume_token(token):
            raise self._broken(state)
        return state

    def may_end(self, state: Any) -> bool:
        """Return whether the answer is valid as it stands."""
        return bool(state.is_accepting())

    def fork(self, state: Any) -> Any:
        """Return a copy."""
        return state.deep_copy()

    def _broken(self, state: Any) -> ConstraintError:
        return ConstraintError(
            f"the constraint `{self.name}` cannot be followed any further: "
            f"{_sentence(state.get_error())}",
            hint="make it simpler: it grew beyond what the matcher holds",
        )


def grammar_constraint(asked: Wanted, texts: TokenTexts) -> GrammarConstraint:
    """Make a pattern, a schema or a grammar ready for a model's tokens.

    Raises:
        ConstraintError: it is malformed.
        UserError: the extra `constraints` is missing.
    """
    matcher = _library().LLMatcher
    grammar = NO_FORCING + _lark(asked, matcher)
    fault = matcher.validate_grammar(grammar, texts.indexed)
    if fault and not fault.startswith("WARNING"):
        raise ConstraintError(
            f"the constraint `{asked.name}` is malformed: {_sentence(fault, asked)}",
            hint=_HINTS[asked.kind],
        )
    return GrammarConstraint(asked.name, grammar, texts)


def _lark(asked: Wanted, matcher: Any) -> str:
    """Return the constraint in the library's variant of Lark's language."""
    if asked.kind == "grammar":
        return asked.source
    if asked.kind == "schema":
        _check_json(asked)
        made = matcher.grammar_from_json_schema(asked.source, defaults=JSON_FORM)
        return f"start: %json {json.dumps(json.loads(made)['grammars'][0]['json_schema'])}"
    made = matcher.grammar_from_regex(asked.source)
    return str(json.loads(made)["grammars"][0]["lark_grammar"])


@final
class _Vocabulary:
    """What the library asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.tokens = [*pieces, b"<end>"]
        self.eos_token_id = len(pieces)
        self.special_token_ids = [len(pieces)]
        self._singles = {piece: i for i, piece in enumerate(pieces) if len(piece) == 1}

    def __call__(self, text: bytes | str) -> list[int]:
        """Spell a text in single bytes; the library asks it of what a grammar forces."""
        data = text.encode() if isinstance(text, str) else text
        spelt = (self._singles.get(bytes([byte])) for byte in data)
        return [token for token in spelt if token is not None]


def _check_json(asked: Wanted) -> None:
    try:
        schema = json.loads(asked.source)
    except ValueError as error:
        raise ConstraintError(
            f"the file of the constraint `{asked.name}` is not JSON: {error}",
            hint='write a JSON Schema, such as {"type": "object"}',
        ) from error
    if not isinstance(schema, dict):
        raise ConstraintError(
            f"the file of the constraint `{asked.name}` holds no JSON Schema",
            hint='a schema is an object, such as {"type": "object"}',
        )


def _sentence(fault: str, asked: Wanted | None = None) -> str:
    """Return what the library says, with the place where it helps, without its drawing of it."""
    lines = [line.strip() for line in fault.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors[0] if errors else lines[0] if lines else "the library does not say why"
    place = _PLACE.match(said)
    if place is None:
        return said.removeprefix(_OF_SCHEMA)
    said = said[place.end() :].removeprefix(_OF_SCHEMA)
    if asked is None or asked.kind != "grammar":
        return said
    return f"line {int(place[1]) - 1}, column {place[2]}: {said}"  # `NO_FORCING` is a line


def _library() -> ModuleType:
    try:
        import llguidance  # an optional extra
    except ModuleNotFoundError as error:
        raise UserError(
            "this constraint needs the package `llguidance`, which is not installed",
            hint='pip install "rheostat[constraints]"',
        ) from error
    return llguidance
