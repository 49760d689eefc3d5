"""Renames a local variable in Python code by its tokens, and finds the names where that is safe."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from functools import cache

SHORTEST_NAME = 3
"""Least letters of a name to rename: shorter ones say little about what is to be changed."""
LEAST_USES = 3
"""Least places where the name stands."""


def renamed(code: str, old: str, new: str) -> str:
    """Return the code with every name token `old` replaced by `new`."""
    lines = code.split("\n")
    # From the end, so that the columns of the tokens before stay right.
    for token in reversed(_tokens(code)):
        if token.type == tokenize.NAME and token.string == old:
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + new + line[column + len(old) :]
    return "\n".join(lines)


@cache
def renamable(code: str) -> tuple[str, ...]:
    """Return the names of one function that stand for one local variable and for nothing else.

    Such a name is no attribute, no keyword argument and no word of a string or a comment, so that
    to rename it means to change every place where it stands.
    """
    tree = ast.parse(code)
    names = Counter(token.string for token in _tokens(code) if token.type == tokenize.NAME)
    words = Counter(re.findall(r"\w+", code))
    found = (
        name
        for name in _local(tree) - _shared(tree)
        if len(name) >= SHORTEST_NAME and words[name] == names[name] >= LEAST_USES
    )
    return tuple(sorted(found))


def _local(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found - {"self", "cls"}


def _shared(tree: ast.Module) -> set[str]:
    """Return names that mean something outside the function, or something other than a variable."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                found.add(name)
            case ast.keyword(arg=str(name)):
                found.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                found.update(names)
            case ast.alias(name=name, asname=other):
                found.update({name.partition(".")[0], other or name})
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
    return found


def _tokens(code: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(code).readline))
