"""Short functions of the standard library without comments; docstrings and blank lines left out."""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from rheostat.workloads.counting import repeats
from rheostat.workloads.parts import normalised
from rheostat.workloads.stdlib import SourceFile, source_files

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = (8, 25)
"""Least and most lines of a snippet."""
CHARACTERS = (200, 440)
"""Least and most characters: about 60 to 140 tokens, most of which 128 new tokens can hold."""
PER_MODULE = 12
"""Most snippets of one module, so that none sets the tone."""

REPEATED_TOKENS = 6
"""A run of so many tokens must not be found twice in a snippet."""

_MODULES = """
    argparse ast base64 bdb bisect calendar cmd code colorsys configparser contextlib csv
    dataclasses difflib dis doctest email/message email/utils enum filecmp fileinput fnmatch
    fractions ftplib functools getopt gettext glob graphlib gzip heapq http/client http/cookies
    imaplib inspect ipaddress locale mailbox mimetypes optparse pathlib pickle pickletools platform
    plistlib poplib pprint profile pstats pyclbr queue quopri random reprlib selectors shelve shlex
    shutil smtplib socketserver statistics string subprocess symtable tarfile tempfile textwrap
    threading timeit tokenize trace traceback turtle types typing unittest/case urllib/parse
    urllib/robotparser uuid warnings wave weakref webbrowser wsgiref/headers xml/dom/minidom zipfile
"""


@cache
def snippets() -> tuple[str, ...]:
    """Return the snippets, each once, in the order of the modules and of their lines."""
    found: dict[str, str] = {}
    for source in source_files([f"{name}.py" for name in _MODULES.split()]):
        for code in islice(_snippets(source), PER_MODULE):
            found.setdefault(normalised(code), code)
    return tuple(found.values())


def _snippets(source: SourceFile) -> Iterator[str]:
    functions = (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef))
    for function in sorted(functions, key=lambda node: node.lineno):
        code = _without_docstring(function, source.lines)
        lines = code.count("\n") + 1
        if (
            LINES[0] <= lines <= LINES[1]
            and CHARACTERS[0] <= len(code) <= CHARACTERS[1]
            and _is_plain(code)
        ):
            yield code


def _without_docstring(function: ast.FunctionDef, lines: tuple[str, ...]) -> str:
    kept = list(lines[function.lineno - 1 : function.end_lineno])
    first = function.body[0]
    if ast.get_docstring(function) is not None and len(function.body) > 1:
        offset = function.lineno - 1
        del kept[first.lineno - 1 - offset : (first.end_lineno or first.lineno) - offset]
    return textwrap.dedent("\n".join(line.rstrip() for line in kept if line.strip()))


def _is_plain(code: str) -> bool:
    """Say whether the code stands by itself, is ASCII, and does not repeat itself."""
    if not code.isascii() or "\t" in code:
        return False
    try:
        ast.parse(code)
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (SyntaxError, tokenize.TokenError):
        return False
    if any(token.type == tokenize.COMMENT for token in tokens):
        return False
    # Dedenting may have changed a text of several lines.
    whole = all(token.start[0] == token.end[0] for token in tokens)
    return whole and not repeats(
        [token.string for token in tokens if token.string.strip()], REPEATED_TOKENS
    )
