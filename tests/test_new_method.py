"""`make method` writes methods that pass the checks and that the contract finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "new_method"
SEAMS = ("depth", "draft", "sample", "token")


def write(root, **words):
    arguments = [f"--{key}={value}" for key, value in words.items()]
    command = [sys.executable, str(TOOL), "--root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def program(*arguments, **more):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A tree with one new method a seam."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", root)
    for folder in ("src", "tests"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=unwanted)
    for seam in SEAMS:
        done = write(root, name=f"new_{seam}", seam=seam)
        assert done.returncode == 0, done.stderr
    return root


def in_pytest(root, *arguments):
    """Run pytest in that tree."""
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    path = os.pathsep.join([str(root / "src"), str(root / "tests")])
    return program("pytest", *options, *arguments, cwd=root, env=os.environ | {"PYTHONPATH": path})


def test_two_files_are_written(written):
    files = {str(p.relative_to(written)) for p in written.rglob("methods/*/*new_*.py")}
    assert files == {
        path
        for seam in SEAMS
        for path in (
            f"src/rheostat/methods/{seam}/new_{seam}.py",
            f"tests/methods/{seam}/test_new_{seam}.py",
        )
    }


def test_they_are_formatted_and_linted(written):
    for command in (("format", "--check"), ("check",)):
        code, said = program("ruff", *command, "--no-cache", "src", "tests", cwd=written)
        assert code == 0, said


@pytest.mark.slow
def test_they_are_typed(written):
    code, said = program(
        "mypy", *sorted(written.glob("src/rheostat/methods/*/new_*.py")), cwd=written
    )
    assert code == 0, said


@pytest.mark.slow
def test_their_own_tests_pass(written):
    code, said = in_pytest(written, *sorted(written.glob("tests/methods/*/test_new_*.py")))
    assert code == 0, said


@pytest.mark.slow
def test_the_contract_finds_them(written):
    code, said = in_pytest(
        written,
        "--collect-only",
        "tests/contract",
        "-k",
        " or ".join(f"new_{seam}" for seam in SEAMS),
    )
    assert code == 0, said
    for seam in SEAMS:
        assert f"new_{seam}" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "a", "seam": "layout"}, "no seam `layout`"),
        ({"name": "Big", "seam": "depth"}, "`Big` is no name"),
        ({"name": "class", "seam": "depth"}, "`class` is no name"),
        ({"name": "new_draft", "seam": "depth"}, "there is a method `new_draft` already"),
    ],
)
def test_what_cannot_be_a_method_is_refused(written, words, said):
    done = write(written, **words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint:" in done.stderr
