"""Write the two files of a new method: `make method name=NAME seam=SEAM` runs this.

What is written is a whole method, the plainest of its seam, with a test of its dial: it passes the
checks and the contract as it stands, and is changed from there into what the paper says.
"""

from __future__ import annotations

import argparse
import keyword
import re
import string
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEAMS = sorted(path.name.split(".")[0] for path in HERE.glob("*.source"))


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or say why not; return the exit code."""
    parser = argparse.ArgumentParser(prog="make method", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seam", required=True)
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to write into")
    asked = parser.parse_args(arguments)
    wrong = problem(asked.name, asked.seam, asked.root)
    if wrong:
        print(f"{wrong}\n\nhint: make method name=my_method seam=depth", file=sys.stderr)
        return 2
    for path, text in files(asked.name, asked.seam).items():
        target = asked.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    print(
        "next: the paper's decision, `paper`, `paper_title` and `authors` on the card, the paper's "
        f"invariant in the test; then `pytest tests/contract -k {asked.name}`"
    )
    return 0


def problem(name: str, seam: str, root: Path) -> str:
    """Return why no such method can be made, '' when it can."""
    if seam not in SEAMS:
        return f"there is no seam `{seam}` to write a method for: choose one of {', '.join(SEAMS)}"
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        return f"`{name}` is no name of a method: small letters, digits and single underscores"
    taken = sorted(root.glob(f"src/rheostat/methods/*/{name}.py"))
    if taken:
        return f"there is a method `{name}` already: {taken[0].relative_to(root)}"
    return ""


def files(name: str, seam: str) -> dict[str, str]:
    """Return the source and the test of a method, by their paths."""
    words = {"name": name, "type": "".join(part.capitalize() for part in name.split("_"))}
    return {
        f"src/rheostat/methods/{seam}/{name}.py": _filled(f"{seam}.source", words),
        f"tests/methods/{seam}/test_{name}.py": _filled(f"{seam}.test", words),
    }


def _filled(template: str, words: dict[str, str]) -> str:
    text = (HERE / template).read_text(encoding="utf-8")
    return string.Template(text).substitute(words)


if __name__ == "__main__":
    sys.exit(main())
