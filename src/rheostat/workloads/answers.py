"""Finds the answer in a text, and says which answers are the same, so that votes do not split.

An answer stands, in this order of trust, in the last `\\boxed{…}`, in the last `<answer>` tags,
behind the last "answer is" or "answer:" up to the end of that sentence, or at the end of the text.
Its class is a text of its own: numbers are compared as exact fractions (`0.50`, `1/2`, `50 %`,
`\\frac{1}{2}`), choices by the word, mathematics as parsed by `math-verify`, everything else but
for case, white space, quotes and final punctuation. A text without an answer has class None: that
is never a vote.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rheostat.errors import UserError
from rheostat.workloads.parts import normalised

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["number", "choice", "math", "text"]
"""How answers are found and compared."""

MOST_CHOICES = 4
_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_MARKER = re.compile(r"\banswer(?:\s+is)?\s*(?:[:=]|\bis\b)?[\s*_]*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(-?\d+)\s*\}")
_NUMBER = re.compile(
    r"(?<![\w.)])[-\u2212]?"
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:(?<=\d)\.\d+|(?<![\d.])\.\d+)?"
    r"(?:[eE][+-]?\d{1,3}(?!\w))?"
    r"(?:\s?/\s?\d+(?![\d.]))?(?:\s?%)?"
)
_LATEX = re.compile(r"\\[a-zA-Z]+|\^|_\{")
_OUTER = " \t\n\"'`*$.,;:!?"
_LONGEST = 400
"""Characters of an answer that is compared; longer ones are cut there."""


class AnswerKind(NamedTuple):
    """How the answers of a set of tasks are found and compared."""

    kind: Kind
    choices: tuple[str, ...] = ()
    """The words to choose from, folded; for `choice` alone."""


def kind_of(references: Iterable[str | None]) -> AnswerKind:
    """Return the kind that all references share; without references it is `number`.

    Raises:
        UserError: they are mathematics and the package `math-verify` is missing.
    """
    known = [reference for reference in references if reference is not None]
    if all(_as_number(reference) is not None for reference in known):
        return AnswerKind("number")
    if any(_LATEX.search(reference) for reference in known):
        _math_package()
        return AnswerKind("math")
    words = sorted({_folded(reference) for reference in known})
    few = len(words) <= MOST_CHOICES and len(known) >= 2 * len(words)
    if few and all(word.isalpha() for word in words):
        return AnswerKind("choice", tuple(words))
    return AnswerKind("text")


def answer_in(text: str, kind: AnswerKind) -> str | None:
    """Return the class of the answer that a text gives; None = it gives none."""
    for place in (_boxed(text), _tagged(text), _marked(text)):
        if place is not None and (found := _class_at_end(place, kind)) is not None:
            return found
    return _class_at_end(text if kind.kind != "text" else _last_line(text), kind)


def answer_class(answer: str, kind: AnswerKind) -> str | None:
    """Return the class of an answer that stands alone, such as a reference; None = it is empty."""
    return _class_at_end(answer, kind)


def _class_at_end(text: str, kind: AnswerKind) -> str | None:
    if kind.kind == "number":
        number = _last_number(text)
        return None if number is None else str(number)
    if kind.kind == "choice":
        found = re.findall(r"[a-z]+", normalised(text))
        return next((word for word in found if word in kind.choices), None)
    if kind.kind == "math":
        return _math_class(text.strip()[-_LONGEST:])
    return _folded(text[:_LONGEST]) or None


def _boxed(text: str) -> str | None:
    """Return what the last whole `\\boxed{…}` holds."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    inside, depth = start + len("\\boxed{"), 1
    for at in range(inside, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[inside:at]
    return None


def _tagged(text: str) -> str | None:
    found = _TAGS.findall(text)
    return found[-1] if found else None


def _marked(text: str) -> str | None:
    """Return the rest of the sentence behind the last marker that something follows."""
    for marker in reversed(list(_MARKER.finditer(text))):
        behind = text[marker.end() :]
        end = _SENTENCE_END.search(behind)
        rest = behind[: end.start()] if end else behind
        if rest.strip(_OUTER):
            return rest
    return None


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip(_OUTER)]
    return lines[-1] if lines else ""


def _last_number(text: str) -> Fraction | None:
    plain = _FRACTION.sub(r" \1/\2 ", text)
    for found in reversed(list(_NUMBER.finditer(plain))):
        number = _as_number(found.group())
        if number is not None:
            return number
    return None


def _as_number(text: str) -> Fraction | None:
    """Return a text that is a number and nothing else, exactly."""
    plain = _FRACTION.sub(r"\1/\2", text).rstrip(_OUTER).lstrip(_OUTER.replace(".", ""))
    plain = plain.replace("\u2212", "-").replace(",", "")
    share = plain.endswith("%")
    plain = re.sub(r"\s*/\s*", "/", plain.removesuffix("%").strip())
    try:
        number = Fraction(plain)
    except (ValueError, ZeroDivisionError):
        return None
    return number / 100 if share else number


def _folded(text: str) -> str:
    inner = re.sub(r"\\text\s*\{([^}]*)\}", r"\1", text)
    return normalised(inner).strip(_OUTER)


def _math_class(text: str) -> str | None:
    number = _as_number(text)
    if number is not None:
        return str(number)
    found = _math_package().parse(text if "$" in text else f"${text}$")
    if not found:
        return None
    # the first is the expression where it was understood, evaluated; else the text itself
    read = found[0] if isinstance(found[0], str) else str(found[0].doit())
    number = _as_number(read)
    return read if number is None else str(number)


def _math_package() -> Any:
    try:
        import math_verify
    except ModuleNotFoundError as error:
        raise UserError(
            "answers with mathematics are compared by the package `math-verify`, which is not "
            "installed",
            hint='pip install "rheostat[tasks]"',
        ) from error
    return math_verify
