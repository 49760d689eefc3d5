"""A process of the suite `memory`: loads, answers, and says on its last line what it held."""

from __future__ import annotations

import json
import re
import sys
import threading
from pathlib import Path

from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.seams import Installed

PROMPT = "Name the planets of the solar system, and say one thing of each."
EVERY = 0.002
"""Seconds between two looks at what the process holds."""
STEP = 1 << 18
"""Bytes that the process must have grown by before its libraries are looked at again."""
_HEAD = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)")


def held(name: str) -> int:
    """Return an entry of the process's memory, in bytes: `VmRSS`, `VmHWM`, `RssAnon`."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0


def library_pages() -> int:
    """Return the bytes of shared libraries' files that are in memory: code and constants."""
    total, library = 0, False
    with Path("/proc/self/smaps").open(encoding="utf-8") as lines:  # whole, it would be megabytes
        for line in map(str.rstrip, lines):
            if head := _HEAD.fullmatch(line):
                library = ".so" in Path(head[1]).suffixes
            elif library and line.startswith("Rss:"):
                total += 1024 * int(line.split()[1])
            elif library and line.startswith("Anonymous:"):  # written to: no longer the file's
                total -= 1024 * int(line.split()[1])
    return total


class Watch(threading.Thread):
    """Keeps the most of what the kernel keeps no mark of."""

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__(daemon=True)
        self.anonymous = 0
        """Memory that is not a file's, in bytes."""
        self.own = 0
        """Memory that is not a library's."""
        self._most = 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until told to end."""
        while not self._ended.wait(EVERY):
            self._look()

    def end(self) -> None:
        """Look once more and stop."""
        self._ended.set()
        self.join()
        self._look()

    def _look(self) -> None:
        now = held("RssAnon")
        self.anonymous, self.own = max(self.anonymous, now), max(self.own, now)
        if (now := held("VmRSS")) > self._most + STEP:
            self._most, self.own = now, max(self.own, now - library_pages())


def main() -> None:
    """Run the order that is the only argument."""
    order = json.loads(sys.argv[1])
    imports, anonymous, libraries = held("VmRSS"), held("RssAnon"), library_pages()
    watch = Watch()
    if order["watched"]:
        watch.start()
    engine = load_torch(order["model"], dtype=order["dtype"], threads=1)
    messages = ({"role": "user", "content": PROMPT},)
    requests = [Request(id=str(i), messages=messages) for i in range(order["batch"])]
    sampling = Sampling(max_new_tokens=order["new"])
    outputs = list(engine.generate(requests, sampling, installed=Installed()))
    if order["watched"]:
        watch.end()
    found = {
        "imports": imports,
        "imports_anonymous": anonymous,
        "imports_own": imports - libraries,
        "peak": held("VmHWM"),
        "anonymous": watch.anonymous,
        "own": watch.own,
        "cache": sum(output.trace.cache_bytes for output in outputs),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
