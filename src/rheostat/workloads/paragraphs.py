"""Plain paragraphs of Python's documentation: help topics first, then docstrings.

A paragraph is kept when it reads as prose: even indentation (no lists, no tables), sentences
from a capital to a full stop, and nearly all words made of letters. Emphasis marks and footnote
marks are taken off; paragraphs with other markup or code are left out. A text that occurs twice
is kept once.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pydoc_data.topics import topics
from typing import TYPE_CHECKING

from rheostat.workloads.parts import normalised
from rheostat.workloads.stdlib import SourceFile, source_files

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN_SHARE = 0.8
"""Least share of words that must be plain."""
SHORTEST = 16
"""Least words of a paragraph: shorter ones are headings, signatures and lone remarks."""

_PLAIN_WORD = re.compile(
    r"[(\"'\u2018\u201c]*[A-Za-z][A-Za-z\u2019'/-]*[)\"'\u2019\u201d]*[,.;:?!]*[)\"'\u2019\u201d]*"
)
_MARKUP = re.compile(r"[*`=<>\[\]|{}\\^~]|::|\w\([^)]|^(?:Changed|New|Deprecated) (?:in|since) ")
_MODULES = """
    _pydecimal _pyio argparse ast asyncio/base_events asyncio/events asyncio/locks
    asyncio/protocols asyncio/queues asyncio/runners asyncio/streams asyncio/tasks bdb bz2 calendar
    cmd code codecs collections/__init__ concurrent/futures/_base configparser contextlib csv
    dataclasses datetime difflib doctest email/_policybase email/headerregistry email/message
    fileinput ftplib functools gettext gzip http/client http/cookiejar http/server imaplib
    importlib/abc inspect ipaddress locale logging/__init__ logging/handlers mailbox
    multiprocessing/managers optparse os pathlib pickle pickletools pkgutil platform pstats pydoc
    queue random sched selectors shutil smtplib socket socketserver ssl statistics subprocess
    tarfile tempfile textwrap threading timeit traceback turtle typing unittest/case
    unittest/loader unittest/mock urllib/parse urllib/request uuid xml/etree/ElementTree
    xml/sax/handler xml/sax/xmlreader xmlrpc/server zipfile
"""


@cache
def sections() -> tuple[tuple[str, ...], ...]:
    """Return the paragraphs of each help topic, then of each module's docstrings."""
    seen: set[str] = set()
    found: list[tuple[str, ...]] = []
    for texts in _texts():
        kept: list[str] = []
        for text in texts:
            for paragraph in re.split(r"\n[ \t]*\n", text):
                plain = plain_paragraph(paragraph)
                if plain is not None and normalised(plain) not in seen:
                    seen.add(normalised(plain))
                    kept.append(plain)
        found.append(tuple(kept))
    return tuple(found)


def plain_paragraph(paragraph: str) -> str | None:
    """Return a paragraph as one line of prose, or None when it is not prose."""
    lines = [line for line in paragraph.split("\n") if line.strip()]
    if len({len(line) - len(line.lstrip()) for line in lines}) != 1:
        return None
    # The topics are wrapped at hyphens, so that a line may end within a word.
    text = re.sub(r"(?<=\w)-\n\s*(?=\w)", "-", "\n".join(lines))
    text = " ".join(text.split())
    text = re.sub(r"(?<!\w)(\*{1,2})(?=\w)([^*]+)\1(?!\w)", r"\2", text)
    text = re.sub(r" ?\[\d+\]", "", text)
    words = text.split()
    plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    if len(words) < SHORTEST or plain < PLAIN_SHARE * len(words) or _MARKUP.search(text):
        return None
    return text if text[0].isupper() and text.endswith(".") else None


def _texts() -> Iterator[list[str]]:
    for name in sorted(topics):
        yield [topics[name]]
    for source in source_files([f"{name}.py" for name in _MODULES.split()]):
        yield _docstrings(source)


def _docstrings(source: SourceFile) -> list[str]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(source.tree) if isinstance(node, owners))
    return [text for text in map(ast.get_docstring, nodes) if text is not None]
