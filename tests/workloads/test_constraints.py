"""Constraints: what a token may be, byte by byte, and what is refused in words."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from rheostat.errors import ConstraintError, UserError
from rheostat.workloads.compiled_constraint import checked, compiled
from rheostat.workloads.constraints import wanted
from rheostat.workloads.grammar_constraint import TokenTexts
from rheostat.workloads.predicate_constraint import PROBES, completions

PIECES = [*(bytes([b]) for b in range(256)), b"ab", "é".encode(), b'{"', b"", b"b\xc3", b"\xa9b"]
TEXTS = TokenTexts(PIECES)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Ann", "Bo"]}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def token(piece):
    return PIECES.index(piece)


def made(constraint):
    if isinstance(constraint, str) and constraint.startswith("regex:"):
        pytest.importorskip("llguidance", reason="needs the extra `constraints`")
    return compiled(wanted(constraint), TEXTS)


def follows(constraint, data):
    """Whether every byte is allowed in turn, and whether the answer may end there."""
    state = constraint.start()
    for byte in data:
        if not constraint.allows(state, byte):
            return None
        state = constraint.advance(state, byte)
    return constraint.may_end(state)


def only_ab(text):
    return set(text) <= {"a", "b"}


def short_e(text, ended):
    return text == "é" * len(text) and (len(text) == 3 if ended else len(text) <= 3)


# answers that are complete, begun, and wrong
CASES = [
    ("regex:[0-9]{2}|é+", ["12", "é", "éé"], ["", "1"], ["1a", "123", "è"]),
    (only_ab, ["", "ab"], [], ["abc", "é"]),
    (short_e, ["ééé"], ["", "é", "éé"], ["e", "éééé"]),
]


@pytest.mark.parametrize(("constraint", "whole", "begun", "wrong"), CASES)
def test_bytes_are_followed_to_the_end(constraint, whole, begun, wrong):
    rule = made(constraint)
    assert [follows(rule, text.encode()) for text in whole] == [True] * len(whole)
    assert [follows(rule, text.encode()) for text in begun] == [False] * len(begun)
    assert [follows(rule, text.encode()) for text in wrong] == [None] * len(wrong)


@pytest.mark.parametrize("constraint", ["regex:(ab?é?){1,4}", only_ab, short_e])
def test_a_token_is_allowed_where_its_bytes_are(constraint):
    rule = made(constraint)
    states = [rule.start()]
    for piece in (b"ab", "é".encode(), b"a"):
        if rule.allows(states[-1], token(piece)):
            states.append(rule.advance(rule.fork(states[-1]), token(piece)))
    for state in states:
        for i, piece in enumerate(PIECES):
            if len(piece) < 2:
                continue
            own, bytewise = rule.fork(state), True
            for byte in piece:
                bytewise = bytewise and rule.allows(own, byte)
                if bytewise:
                    own = rule.advance(own, byte)
            assert rule.allows(state, i) == bytewise, (constraint, state, piece)


def test_a_part_of_a_character_is_allowed_when_it_can_be_completed():
    rule = made(short_e)
    start = rule.start()
    assert rule.allows(start, 0xC3)
    assert not rule.allows(start, 0xE2)
    part = rule.advance(start, 0xC3)
    assert not rule.may_end(part)
    assert rule.allows(part, 0xA9)
    assert not rule.allows(part, 0xA8)
    assert not rule.allows(part, ord("e"))


def test_a_function_that_refuses_a_script_refuses_the_beginnings_of_its_letters():
    rule = made(only_ab)
    assert not any(rule.allows(rule.start(), byte) for byte in range(0x80, 0x100))
    assert made(lambda text: True).allows(rule.start(), 0xF0)


@pytest.mark.parametrize("part", [b"\xc3", b"\xe2\x82", b"\xe0", b"\xed", b"\xf0\x9f", b"\xf4"])
def test_completions_begin_with_the_bytes_given(part):
    found = completions(part)
    assert 0 < len(found) <= PROBES
    assert all(len(c) == 1 and c.encode().startswith(part) for c in found)
    if part == b"\xc3":
        assert len(found) == 64


def test_an_empty_piece_and_broken_bytes_are_refused():
    rule = made(lambda text: True)
    assert not rule.allows(rule.start(), token(b""))
    assert not rule.allows(rule.start(), 0xFF)
    assert not rule.allows(rule.advance(rule.start(), 0xC3), ord("a"))


@pytest.mark.parametrize("pattern", ["(ab?é?){1,4}", "abéabéab"])
@pytest.mark.parametrize("data", [b"", b"a", b"ab"])
def test_the_mask_says_what_single_checks_say(pattern, data):
    rule = made(f"regex:{pattern}")
    state = rule.start()
    for byte in data:
        state = rule.advance(state, byte)
    each = np.array([rule.allows(state, i) for i in range(len(PIECES))])
    assert rule.mask(state).tolist() == each.tolist()


def test_a_fork_goes_its_own_way():
    rule = made("regex:ab|ac")
    first = rule.advance(rule.start(), ord("a"))
    second = rule.fork(first)
    rule.advance(first, ord("b"))
    assert rule.allows(second, ord("c"))


@pytest.fixture
def files(tmp_path):
    pytest.importorskip("llguidance", reason="needs the extra `constraints`")

    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_json_is_written_on_one_line(files):
    rule = made(f"schema:{files('s.json', json.dumps(SCHEMA))}")
    assert follows(rule, b'{"name": "Bo", "age": 41}') is True
    assert follows(rule, b'{"name": "Bo"') is False
    for wrong in (b'{"name": "Cy"', b'{"age": "41"', b'{ "name"', b'{"name": "Bo", "age": 4}\n'):
        assert follows(rule, wrong) is None


def test_a_grammar_nests(files):
    lark = 'start: "(" start ")" | NUM\nNUM: /[0-9]/\n'
    rule = made(f"grammar:{files('g.lark', lark)}")
    assert follows(rule, b"((7))") is True
    assert follows(rule, b"((7)") is False
    assert follows(rule, b"(7))") is None


def test_a_function_of_a_file(files):
    path = files("rule.py", "import string\n\ndef digits(text):\n    return text.isdigit()\n")
    rule = made(f"{path}:digits")
    assert follows(rule, b"12") is True
    assert follows(rule, b"1x") is None


def test_a_constraint_is_compiled_once_and_functions_are_told_apart(files):
    texts = TokenTexts(PIECES)
    path = files("rule.py", "def ok(text):\n    return True\n")
    assert compiled(wanted(f"{path}:ok"), texts) is compiled(wanted(f"{path}:ok"), texts)
    first, second = (
        compiled(wanted(function), texts) for function in (lambda t: True, lambda t: False)
    )
    assert first.allows(first.start(), ord("a"))
    assert not second.allows(second.start(), ord("a"))


def test_what_is_asked_for_is_told_apart_by_what_the_file_held(files):
    path = files("s.json", "{}")
    first = wanted(f"schema:{path}")
    path.write_text('{"type": "null"}', encoding="utf-8")
    assert first != wanted(f"schema:{path}")
    assert json.loads(json.dumps(first.to_json()))["source"] == "{}"


MALFORMED = [
    ("s.json", '{"type": ', "schema:{}", "is not JSON"),
    ("s.json", "[1]", "schema:{}", "holds no JSON Schema"),
    ("s.json", '{"type": "thing"}', "schema:{}", "malformed: Invalid type: thing"),
    ("g.lark", "start: foo", "grammar:{}", 'line 1, column 8: unknown name: "foo"'),
    ("f.py", "def g(text):", "{}:g", "cannot be run"),
    ("f.py", "x = 1", "{}:g", "defines no function `g`"),
    ("f.py", "def g(): pass", "{}:g", "must take a text"),
    ("f.py", "def g(text): return text[5] == 1", "{}:h", "defines no function `h`"),
]


@pytest.mark.parametrize(("name", "text", "form", "message"), MALFORMED)
def test_malformed_files_are_refused_in_one_sentence_with_a_hint(files, name, text, form, message):
    with pytest.raises(ConstraintError) as caught:
        checked(form.format(files(name, text)))
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("regex:(ab", "malformed: unclosed group"),
        ("regex:", "is no constraint"),
        ("ab+", "is no constraint"),
        ("schema:missing.json", "cannot be read"),
        ("missing.py:func", "cannot be read"),
    ],
)
def test_malformed_constraints_are_refused_in_one_sentence_with_a_hint(constraint, message):
    pytest.importorskip("llguidance", reason="needs the extra `constraints`")
    with pytest.raises(ConstraintError) as caught:
        checked(constraint)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_function_that_fails_is_named_with_the_text():
    def picky(text):
        return text[1] == "a"

    with pytest.raises(ConstraintError, match=r"`picky` failed on 'a'.*IndexError"):
        made(picky).allows(made(picky).start(), ord("a"))


def test_a_missing_extra_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UserError, match="needs the package `llguidance`") as caught:
        checked("regex:a")
    assert caught.value.hint == 'pip install "rheostat[constraints]"'
