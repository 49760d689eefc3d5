"""What the documents show runs: every block of code, and the examples.

The blocks of a page run one after the other in one folder, on a tiny model in the place of the
embedded one; a page that begins with `<!-- slow -->` needs the real model. A block under
`<!-- not run: REASON -->` is only read: its commands and options have to exist. The examples run on
the tiny model too, and are slow only because each starts a program.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import typer.main

from engines.tiny_gguf import write_tiny_gguf
from rheostat.cli import app

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
WRITTEN = [*DOCS.glob("*.md"), *DOCS.glob("guides/*.md")]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w*)\n(.*?)^```", re.M | re.S)


def blocks_of(page, *, run):
    """Language and code of the blocks of a page that are run, or of those that are only read."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, code) for note, language, code in found if bool(note) != run]


PAGES = sorted(page for page in WRITTEN if blocks_of(page, run=True))
SLOW = {p for p in PAGES if p.read_text(encoding="utf-8").startswith("<!-- slow -->")}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf"))


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """Where `rheostat` and `python` are those of the test."""
    folder = tmp_path_factory.mktemp("bin")
    program = '-c "from rheostat.cli import main; main()"'
    for name, run in (("rheostat", program), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {run} "$@"\n')
        (folder / name).chmod(0o755)
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": paths}


def run(command, folder, environment):
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in PAGES],
    ids=lambda p: p.stem,
)
def test_every_block_of_a_page_runs(page, model, surroundings, tmp_path):
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    for language, text in blocks_of(page, run=True):
        code = text
        if page not in SLOW:
            code = code.replace("rheostat generate smollm2", f"rheostat generate {model}")
            code = code.replace('"smollm2"', f'"{model}"').replace("base:smollm2", f"base:{model}")
        if language == "python":
            run([sys.executable, "-W", "error", "-c", code], tmp_path, surroundings)
        else:
            assert language == "sh", f"a block of `{language}` is not run"
            run(["bash", "-euo", "pipefail", "-c", code], tmp_path, surroundings)


def commands_of(page):
    """The arguments of every `rheostat` command that a page shows, run or not."""
    lines = [
        line
        for _, language, code in BLOCK.findall(page.read_text(encoding="utf-8"))
        if language == "sh"
        for line in code.replace("\\\n", " ").splitlines()
    ]
    for line in lines:
        for part in re.split(r"\s[|;]\s|&&", line):
            words = shlex.split(re.sub(r"\s#.*", "", part))
            if words[:1] == ["rheostat"]:
                yield words[1:]


@pytest.mark.parametrize(
    "page",
    [*WRITTEN, ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_every_command_that_is_shown_is_one(page):
    group = typer.main.get_command(app)
    for name, *arguments in commands_of(page):
        if arguments != ["--help"]:
            group.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_code_is_in_fenced_blocks(page):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    assert not re.findall(r"^\n {4}\S.*", prose, re.M), "an indented block is not run"
    assert "```" not in prose


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_runs(example, model, surroundings, tmp_path):
    assert run([sys.executable, str(example), model], tmp_path, surroundings)


def test_examples_are_five_and_short():
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in EXAMPLES}
    assert len(lengths) == 5
    assert max(lengths.values()) < 40, lengths
