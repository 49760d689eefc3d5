"""The documents say what the result files and the code say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_tables_are_those_of_the_result_files():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_command_of_the_readme_is_a_command():
    from rheostat.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    named = {
        line.split()[1]
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("rheostat ")
    }
    assert named
    assert named <= known


def test_every_target_of_the_readme_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join(blocks("sh")))) <= targets


def test_every_link_and_picture_of_the_readme_exists():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"))
def test_python_of_the_readme_runs(block):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
