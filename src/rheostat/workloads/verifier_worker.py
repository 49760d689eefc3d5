"""Runs a user's verifier in a process of its own: `verifier_worker.py FILE FUNC DESCRIPTOR`.

Reads a JSON object a line on standard input and answers each with one on the descriptor. Standard
library alone, so that it starts at once.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def loaded(file: str, name: str) -> Callable[..., Any]:
    """Return the function; its file's folder can be imported from."""
    sys.path.insert(0, str(Path(file).resolve().parent))
    spec = importlib.util.spec_from_file_location("verifier", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Any] = getattr(module, name)
    return function


def score_of(value: Any) -> float:
    """Return what the function gave as a number from 0 (wrong) to 1 (right)."""
    if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
        raise ValueError(f"it returned {value!r:.80}, not True, False or a number from 0 to 1")
    return float(value)


def main() -> None:
    """Answer every line until standard input ends."""
    file, name, descriptor = sys.argv[1:]
    replies = os.fdopen(int(descriptor), "w", encoding="utf-8")

    def reply(line: dict[str, Any]) -> None:
        replies.write(json.dumps(line) + "\n")
        replies.flush()

    try:
        function = loaded(file, name)
        both = len(inspect.signature(function).parameters) > 1
    except BaseException as error:
        reply({"error": f"{type(error).__name__}: {error}"})
        return
    reply({"ready": True})
    for line in sys.stdin:
        task = json.loads(line)
        text = task.pop("text")
        try:
            reply({"score": score_of(function(text, task) if both else function(text))})
        except BaseException as error:
            reply({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
