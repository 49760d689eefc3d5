"""Whether a Ray cluster lets this machine in: tried by a process of its own, for some seconds.

`ray.init` has no limit of time. Where a cluster asks for a token it tries a wrong one for 20
seconds, and where a part of the cluster has died it waits for minutes and then ends the process
that called it. So another process calls it first (ours).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

WAIT = 20.0
"""Seconds within which a cluster must have let the process in."""
REFUSED = "InvalidAuthToken"
"""What Ray says of a token that is missing or wrong."""
_STEP = 0.1
_JOINED = "rheostat: joined"
_FAILED = "rheostat: failed: "
_CODE = f"""
import logging, sys
try:
    import ray
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
    print({_JOINED!r}, flush=True)
    ray.shutdown()
except Exception as error:
    said = (str(error).splitlines() or [""])[0]
    print({_FAILED!r} + type(error).__name__ + ": " + said, flush=True)
"""


class Answer(NamedTuple):
    """How a cluster took a process that wanted to join."""

    joined: bool = False
    refused: bool = False
    """It asks for a token, and did not take what it was given, or was given none."""
    kind: str = ""
    """Name of the error that Ray raised; empty where it raised none."""
    said: str = ""
    """The first line of that error; empty where nothing came in time."""


def probed(address: str, *, wait: float) -> Answer:
    """Join the cluster at an address from another process, which is ended after `wait` seconds.

    The process has this one's environment, so that it finds the same token. What it writes is read
    here and shown to nobody.
    """
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "said").open("w+b") as out:
        asked = [sys.executable, "-c", _CODE, address]
        child = subprocess.Popen(asked, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        until = time.monotonic() + wait
        try:
            while True:
                over = child.poll() is not None or time.monotonic() > until
                answer = _read(Path(out.name).read_text(encoding="utf-8", errors="replace"))
                if answer or over:
                    return answer or Answer()
                time.sleep(_STEP)
        finally:
            child.kill()
            child.wait()


def _read(text: str) -> Answer | None:
    """Return what a process has said of the cluster; None while it says nothing."""
    if REFUSED in text:
        return Answer(refused=True)
    for line in text.splitlines():
        if line.startswith(_JOINED):
            return Answer(joined=True)
        if line.startswith(_FAILED):
            kind, _, said = line.removeprefix(_FAILED).partition(": ")
            return Answer(kind=kind, said=said)
    return None
